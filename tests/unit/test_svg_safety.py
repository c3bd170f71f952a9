"""What may be drawn, and what may not be opened by anybody."""

from __future__ import annotations

import pytest

from rpac_ci.bot.svg_safety import is_still

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'


@pytest.mark.parametrize(
    "content",
    [
        '<path d="M0 0 L1 1" style="fill: url(#gradient)"/>',
        '<use xlink:href="#mark"/>',
        '<image href="data:image/png;base64,iVBORw0KGgo="/>',
        "<style>path { stroke: black }</style><text>a &lt; b</text>",
        "<text>gene expression \\alpha of url(x)</text>",
    ],
)
def test_a_drawing(content: str) -> None:
    assert is_still(f"{HEAD}{content}</svg>".encode())


def test_what_plot_libraries_write() -> None:
    doctype = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd">'
    text = f'<?xml version="1.0" encoding="utf-8"?>\n{doctype}\n{HEAD}<g id="a"/></svg>'
    assert is_still(text.encode())


@pytest.mark.parametrize(
    "content",
    [
        "<script>alert(1)</script>",
        "<svg:script xmlns:svg='http://www.w3.org/2000/svg'>alert(1)</svg:script>",
        "<SCRIPT/>",
        '<g onload="alert(1)"/>',
        '<a href="javascript:alert(1)"><path/></a>',
        '<a xlink:href=" JaVaScRiPt:alert(1)"/>',
        '<a href="https://example.org">go</a>',
        '<image href="https://example.org/pixel.png"/>',
        '<image href="data:image/svg+xml;base64,PHN2Zz4="/>',
        '<use href="other.svg#mark"/>',
        '<path style="fill: url(https://example.org/x)"/>',
        "<style>@import 'https://example.org/x.css';</style>",
        "<style>path { fill: url('//example.org/x') }</style>",
        "<foreignObject><iframe src='x'/></foreignObject>",
        "<animate attributeName='href' values='#a;javascript:alert(1)'/>",
        "<set attributeName='href' to='java&#9;script:alert(1)'/>",
        "<h:meta xmlns:h='http://www.w3.org/1999/xhtml' http-equiv='refresh' content='0;url=x'/>",
        "<h:img xmlns:h='http://www.w3.org/1999/xhtml' srcset='https://example.org/x'/>",
        "<path style='fill: u\\72l(https://example.org/x)'/>",
        "<style>@\\69mport 'x'</style>",
        "<path style='background: image-set(\"https://example.org/x\" 1x)'/>",
        "<path xmlns='' d='M0 0'/>",
        '<?xml-stylesheet href="https://example.org/x.css"?>',
    ],
)
def test_more_than_a_drawing(content: str) -> None:
    assert not is_still(f"{HEAD}{content}</svg>".encode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg>",
        b"not xml",
        b"\xff\xfe\x00",
        b'<!DOCTYPE svg [<!ENTITY a "b">]><svg>&a;</svg>',
        b'<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
    ],
)
def test_what_is_not_understood(content: bytes) -> None:
    assert not is_still(content)
