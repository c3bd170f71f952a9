"""AWS's price list as far as GetProducts of AmazonEC2 goes, on a real socket; moto has none."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

PAGE = 2  # products of one answer, so that there are several


def product(name: str, usd_per_hour: str, *, unit: str = "Hrs") -> str:
    """A product as the price list says it: JSON in a text."""
    dimension = {"unit": unit, "pricePerUnit": {"USD": usd_per_hour}, "beginRange": "0"}
    return json.dumps(
        {
            "product": {
                "productFamily": "Compute Instance",
                "attributes": {"instanceType": name, "operatingSystem": "Linux"},
                "sku": "ABC",
            },
            "serviceCode": "AmazonEC2",
            "terms": {"OnDemand": {"ABC.JRT": {"priceDimensions": {"ABC.JRT.6YS": dimension}}}},
        }
    )


class PriceList:
    """A server for the length of a `with` block; `asked` has the requests."""

    def __init__(self, products: list[str]) -> None:
        self.products = products
        self.asked: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        begin = int(asked.get("NextToken", 0))
        answer: dict[str, Any] = {
            "FormatVersion": "aws_v1",
            "PriceList": self.products[begin : begin + PAGE],
        }
        if begin + PAGE < len(self.products):
            answer["NextToken"] = str(begin + PAGE)
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        price_list = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.headers["X-Amz-Target"] == "AWSPriceListService.GetProducts"
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                price_list.asked.append(asked)
                body = json.dumps(price_list._answer(asked)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        return Handler
