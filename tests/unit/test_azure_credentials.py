"""Who asks Azure: a token in a file is good only while it is there, and only for its subject."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import DefaultAzureCredential

from rpac_ci.clouds.azure.credentials import credential
from tests.standins import oidc
from tests.standins.azure import entra, rest
from tests.standins.azure.entra import Entra
from tests.standins.oidc import Issuer

STORAGE, BATCH = "https://storage.azure.com/.default", f"{rest.BATCH}/.default"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Entra]:
    """Entra on a socket, which trusts jobs of one environment; this process is told to go there."""
    found = Entra(rest.access_token, Issuer())

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, headers, said = found.answer(self.path, body)
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(said))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    for name, value in {
        "AZURE_AUTHORITY_HOST": f"https://localhost:{server.server_port}",
        "AZURE_TENANT_ID": entra.TENANT, "AZURE_CLIENT_ID": entra.CLIENT,
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
        "REQUESTS_CA_BUNDLE": str(tmp_path / "authority.pem"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    yield found
    server.shutdown()
    server.server_close()


def given(directory: Entra, tmp_path: Path, subject: str = oidc.SUBJECT) -> None:
    """A token of a job lies in the file."""
    assert directory.issuer is not None
    directory.issuer.subject = subject
    (tmp_path / "token").write_text(directory.issuer.token(entra.AUDIENCE))


def test_each_service_is_asked_for_with_the_token_that_is_there_then(
    directory: Entra, tmp_path: Path
) -> None:
    given(directory, tmp_path)
    found = credential()
    assert oidc.claims(found.get_token(STORAGE).token)["appid"] == entra.CLIENT
    given(directory, tmp_path, "repo:lab/experiments:ref:refs/heads/topic")
    with pytest.raises(ClientAuthenticationError, match=r"AADSTS700213.*refs/heads/topic"):
        found.get_token(BATCH)
    given(directory, tmp_path)
    assert found.get_token(BATCH).token
    assert directory.calls == ["https://storage.azure.com", rest.BATCH]


@pytest.mark.parametrize("subject", ["repo:lab/experiments:environment:RPAC-cloud", "repo:x/y"])
def test_subjects_are_compared_letter_by_letter(
    directory: Entra, tmp_path: Path, subject: str
) -> None:
    given(directory, tmp_path, subject)
    with pytest.raises(ClientAuthenticationError, match="No matching federated identity"):
        credential().get_token(STORAGE)


def test_a_token_for_another_audience_or_of_somebody_else_is_none(
    directory: Entra, tmp_path: Path
) -> None:
    assert directory.issuer is not None
    for token in (directory.issuer.token("sts.amazonaws.com"), Issuer().token(entra.AUDIENCE)):
        (tmp_path / "token").write_text(token)
        with pytest.raises(ClientAuthenticationError, match=r"AADSTS7000?(27|212)"):
            credential().get_token(STORAGE)


def test_without_such_a_file_azure_identity_looks_for_itself(
    directory: Entra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_FEDERATED_TOKEN_FILE")
    assert isinstance(credential(), DefaultAzureCredential)
