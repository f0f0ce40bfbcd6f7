"""The guards of conftest.py hold."""

import os
import socket

import pytest


def test_another_machine_cannot_be_reached(no_network: list[str]) -> None:
    with socket.socket() as connection, pytest.raises(OSError, match="must not leave"):
        connection.connect(("192.0.2.1", 80))
    with pytest.raises(OSError, match="must not leave"):
        socket.getaddrinfo("example.invalid", 80)
    assert len(no_network) == 2
    no_network.clear()


def test_this_machine_can_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("localhost", port), timeout=5):
            pass


def test_nobody_is_told_that_tests_run() -> None:
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert "PREFECT_API_URL" not in os.environ
