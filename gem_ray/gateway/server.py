"""The gateway in a process of its own: uvicorn in front, the run's Serve application and graph store behind.

It is no Serve ingress: Serve's proxy is one port for every application of the cluster, whose own routes ask for no
token, and it is switched off where a run has started Serve. Here the only port is this one, and every path of it but
``/healthz`` asks for the token.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import uvicorn
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from gem_ray.config import GatewayConfig, GemConfig
from gem_ray.data.manifest import read_manifest
from gem_ray.errors import ConfigError
from gem_ray.gateway.app import build_gateway
from gem_ray.gateway.auth import Token, find_token
from gem_ray.gateway.routes import Behind
from gem_ray.gateway.watching import Watched
from gem_ray.graph.store import connect_store
from gem_ray.scoring.serving.application import app_name
from gem_ray.scoring.serving.serve_scorer import ServeScorer
from gem_ray.storage import Storage

log = logging.getLogger(__name__)
MAX_CONNECTIONS = 256
KEEP_ALIVE_S = 15
DRAIN_S = 10


def run_gateway(config: GemConfig, gateway: GatewayConfig) -> None:
    """Serve until Ctrl-C.

    Args:
        config: of the run, as it was started
        gateway: where and how to listen

    Raises:
        ConfigError: the address cannot be listened on, or the token cannot be used
        GraphError: the run is not up
    """
    token = find_token(gateway.token_file) if gateway.authentication else None
    behind = behind_run(config)
    with listen(gateway) as listener:
        server = make_server(gateway, token, behind, config.run.name)
        for line in greeting(listener, token):
            print(line, flush=True)
        server.run(sockets=[listener])


def behind_run(config: GemConfig) -> Behind:
    """What the gateway of a run that is up asks.

    Raises:
        GraphError: it is not up
    """
    app = app_name(config.run.name)
    graphs = connect_store(config.run.name)
    run = Storage(f"{config.run.uri}/{config.run.name}", config.storage)
    return Behind(
        scorer=ServeScorer(app, config.scoring.deadline_s),
        graphs=graphs,
        evidence=run.child("evidence"),
        scorer_up=deployed(app),
        image_size=read_manifest(Storage(config.data.uri, config.storage)).shape[0],
        wordings=config.scoring.wordings,
        batch_questions=config.scoring.batch_questions,
        estimator=config.scoring.estimator,
        calibrate=config.scoring.calibrate,
    )


def deployed(app: str) -> Callable[[], bool]:
    """Whether an application is deployed; one without a replica at present is, since a question brings one."""

    def look() -> bool:
        try:
            application = serve.status().applications.get(app)
        except (RayServeException, RayError, TimeoutError):
            return False
        return application is not None and application.status in {"RUNNING", "DEPLOYING"}

    return look


def listen(gateway: GatewayConfig) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: the address is not to be had
    """
    family = socket.AF_INET6 if ":" in gateway.host else socket.AF_INET
    try:
        return socket.create_server((gateway.host, gateway.port), family=family, backlog=MAX_CONNECTIONS)
    except OSError as error:
        raise ConfigError(
            f"gateway.host={gateway.host} gateway.port={gateway.port} cannot be listened on ({error.strerror}): "
            "choose another port, or 0 for a free one"
        ) from error


def make_server(gateway: GatewayConfig, token: Token | None, behind: Behind, run_name: str) -> uvicorn.Server:
    """A server that has not started yet."""
    return uvicorn.Server(
        uvicorn.Config(
            Watched(build_gateway(gateway, token, behind), run_name),
            log_level="warning",
            access_log=False,
            server_header=False,
            # The address of the connection itself: a header could name any.
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
            ws="none",
        )
    )


def greeting(listener: socket.socket, token: Token | None) -> list[str]:
    """What the person who started it reads: the address, and where the token is, never the token."""
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if token is None:
        return [f"the gateway listens on {url} and asks for no token; Ctrl-C ends it"]
    return [
        f"the gateway listens on {url}; Ctrl-C ends it",
        f"its token is in {token.place}: send it as 'Authorization: Bearer TOKEN'",
        f"what can be asked: {url}/openapi.json",
    ]
