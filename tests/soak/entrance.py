"""How clients get at elections."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.crash.load import Settings


@dataclass(frozen=True, slots=True)
class Entrance:
    """How clients get at elections.

    Args:
        scheme: of the target.
        ports: of the servers, on 127.0.0.1.
        path: at the end of the target.
        ca: the file of the servers' authority; "" without TLS.
        token_file: what proves who they are; "" for nothing.
        certificate: the file of their certificate, with its key; "" for none.
    """

    scheme: str
    ports: tuple[int, ...]
    path: str = ""
    ca: str = ""
    token_file: str = ""
    certificate: str = ""

    def target(self, ports: Sequence[int] = ()) -> str:
        """Return what a client is given, by other ports if it goes by proxies."""
        return f"{self.scheme}://{','.join(f'127.0.0.1:{port}' for port in ports or self.ports)}{self.path}"

    def settings(
        self,
        who: str,
        path: str,
        *,
        ttl_s: float,
        ports: Sequence[int] = (),
        seed: int = 0,
        clients: int = 1,
        pause_s: float = 0.0,
    ) -> Settings:
        """Return those of a process of clients."""
        where, access = self.target(ports), (self.ca, self.token_file, pause_s, self.certificate)
        return Settings(where, who, path, seed, ttl_s, clients, *access)
