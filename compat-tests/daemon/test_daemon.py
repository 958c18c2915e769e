"""zkd as a program: arguments, defaults, refusals, signals; and the library inside another one."""
import os
import re
import signal
import socket
import subprocess

import pytest
from kazoo.client import KazooClient

from harness import native
from harness.servers import REPO, ServerError, ZkdServer, free_port, four_letter, spawn, wait_for
from harness.servers import zkd_program

TIMEOUT_S = 20


def run(args, cwd):
    """zkd, until it ends by itself."""
    return subprocess.run([zkd_program(), *map(str, args)], cwd=cwd, capture_output=True, text=True,
                          timeout=TIMEOUT_S)


def refused(tmp_path, text):
    (tmp_path / "zoo.cfg").write_text(text)
    return run([tmp_path / "zoo.cfg"], tmp_path)


@pytest.fixture
def daemon(tmp_path):
    """Starts zkd in an empty directory; ends it afterwards."""
    started = []

    def start(args):
        out = open(tmp_path / f"out{len(started)}", "w+")
        process = spawn([zkd_program(), *map(str, args)], cwd=tmp_path, stdout=out,
                        stderr=subprocess.STDOUT)
        started.append(process)
        process.text = lambda: (out.seek(0), out.read())[1]
        return process
    yield start
    for process in started:
        process.kill()
        process.wait()


def answers(port, host="127.0.0.1"):
    try:
        return four_letter((host, port), "srvr").startswith(b"Zookeeper version")
    except OSError:
        return False


def works(hosts):
    client = KazooClient(hosts, timeout=5)
    client.start(timeout=TIMEOUT_S)
    client.create("/works", b"yes")
    assert client.get("/works")[0] == b"yes"
    client.delete("/works")
    client.stop()
    client.close()


def test_without_arguments(daemon, tmp_path):
    """The default: port 2181, data under ./zk-data, loopback only, said on start."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 2181)) == 0:
            pytest.fail("port 2181 of this machine is in use: the default cannot be tried")
    process = daemon([])
    wait_for(lambda: answers(2181), TIMEOUT_S, "zkd on 2181")
    works("127.0.0.1:2181")
    assert (tmp_path / "zk-data" / "version-2" / "snapshot.0").stat().st_size == 478
    assert "./zk-data" in process.text() and "2181" in process.text()
    others = {address[4][0] for address in socket.getaddrinfo(socket.gethostname(), None)
              if not address[4][0].startswith(("127.", "::1", "fe80"))}
    for address in others:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.settimeout(2)
            assert probe.connect_ex((address, 2181)) != 0, "it listens beyond the loopback"


def test_port_and_directory_as_arguments(daemon, tmp_path):
    port = free_port()
    daemon([port, tmp_path / "data", 500, 3])
    wait_for(lambda: answers(port), TIMEOUT_S, "zkd")
    assert b"Mode: standalone" in four_letter(("127.0.0.1", port), "srvr")
    works(f"127.0.0.1:{port}")


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_order(daemon, tmp_path, sig):
    port = free_port()
    process = daemon([port, tmp_path / "data"])
    wait_for(lambda: answers(port), TIMEOUT_S, "zkd")
    client = KazooClient(f"127.0.0.1:{port}", timeout=30)
    client.start(timeout=TIMEOUT_S)
    client.create("/stays", b"x")
    process.send_signal(sig)
    assert process.wait(TIMEOUT_S) == 0
    client.stop()
    client.close()
    daemon([port, tmp_path / "data"])
    wait_for(lambda: answers(port), TIMEOUT_S, "zkd again")
    again = KazooClient(f"127.0.0.1:{port}", timeout=5)
    again.start(timeout=TIMEOUT_S)
    assert again.get("/stays")[0] == b"x"
    again.stop()
    again.close()


@pytest.mark.parametrize("address,host", [("::1", "[::1]"), ("127.0.0.1", "127.0.0.1"),
                                          ("localhost", "127.0.0.1"), (None, "[::1]"),
                                          (None, "127.0.0.1")])
def test_addresses(daemon, tmp_path, address, host):
    port = free_port()
    config = f"tickTime=2000\ndataDir={tmp_path}/data\nclientPort={port}\n"
    if address:
        config += f"clientPortAddress={address}\n"
    (tmp_path / "zoo.cfg").write_text(config)
    process = daemon([tmp_path / "zoo.cfg"])
    wait_for(lambda: "Loaded" in process.text() or process.poll() is not None, TIMEOUT_S, "start")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as client:
        client.connect((host.strip("[]"), port))
        client.sendall(b"srvr")
        assert client.recv(17) == b"Zookeeper version"
    other = {"::1": ("127.0.0.1", socket.AF_INET), "127.0.0.1": ("::1", socket.AF_INET6)}
    if address in other:
        name, family = other[address]
        with socket.socket(family) as client:
            assert client.connect_ex((name, port)) != 0


@pytest.mark.parametrize("text,message", [
    ("tickTime=2000\nclientPort=2181\n", "dataDir is not set"),
    ("tickTime=abc\ndataDir=./d\nclientPort=2181\n", 'For input string: "abc"'),
    ("tickTime=2000\ndataDir=./d\nclientPort=2181\nsslQuorum=true\n", "sslQuorum"),
    ("tickTime=2000\ndataDir=./d\nsecureClientPort=2281\n", "secureClientPort"),
    ("tickTime=2000\ndataDir=./d\nclientPort=2181\ninitLimit=5\nsyncLimit=2\n"
     "server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n", "myid file is missing")])
def test_configurations_that_are_refused(tmp_path, text, message):
    done = refused(tmp_path, text)
    assert done.returncode == 2
    assert "Invalid config, exiting abnormally" in done.stderr and message in done.stderr
    assert not (tmp_path / "d").exists()


def test_missing_configuration(tmp_path):
    done = run([tmp_path / "none.cfg"], tmp_path)
    assert done.returncode == 2 and "missing" in done.stderr


def test_too_many_arguments(tmp_path):
    done = run([1, 2, 3, 4, 5], tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("Usage")


def test_data_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    done = refused(tmp_path, f"tickTime=2000\ndataDir={tmp_path}/file/d\nclientPort=2181\n")
    assert done.returncode == 3
    assert "Unable to access datadir, exiting abnormally" in done.stderr


def test_missing_data_directory_without_autocreate(tmp_path):
    done = refused(tmp_path, f"tickTime=2000\ndataDir={tmp_path}/d\nclientPort=2181\n"
                             "datadir.autocreate=false\n")
    assert done.returncode == 3 and "datadir.autocreate is false" in done.stderr
    assert not (tmp_path / "d").exists()


def test_port_in_use(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = refused(tmp_path, f"tickTime=2000\ndataDir={tmp_path}/d\nclientPort={port}\n"
                                 "clientPortAddress=127.0.0.1\n")
    assert done.returncode == 1 and "in use" in done.stderr


def test_one_server_per_data_directory(tmp_path):
    with ZkdServer(tmp_path / "first") as first:
        done = refused(tmp_path, f"tickTime=2000\ndataDir={first.datadir}\n"
                                 f"clientPort={free_port()}\n")
        assert done.returncode == 3 and "another server uses" in done.stderr
        assert answers(first.port)


def test_a_wrong_configuration_names_the_harness_error(tmp_path):
    with pytest.raises(ServerError):
        ZkdServer(tmp_path / "bad", config={"tickTime": "abc"}).start()


# --- the library --------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """examples/embed_server.c, compiled as its head comment says."""
    return native.program(tmp_path_factory.mktemp("embed") / "embed_server",
                          REPO / "examples" / "embed_server.c", "-Wall", "-Wextra", "-Werror")


def test_embedded_servers(embedded, tmp_path):
    """Two servers in one process, independent of each other, on data that survives."""
    def start():
        process = spawn([embedded, "600"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        lines = [process.stdout.readline() for _ in range(2)]
        return process, [re.search(r"127\.0\.0\.1:(\d+)", line).group(1) for line in lines]
    process, ports = start()
    clients = [KazooClient(f"127.0.0.1:{port}", timeout=5) for port in ports]
    for number, client in enumerate(clients):
        client.start(timeout=TIMEOUT_S)
        client.create("/who", str(number).encode())
    assert [client.get("/who")[0] for client in clients] == [b"0", b"1"]
    assert clients[0].last_zxid == clients[1].last_zxid
    for client in clients:
        client.stop()
        client.close()
    process.kill()
    process.wait()
    process, ports = start()
    client = KazooClient(f"127.0.0.1:{ports[1]}", timeout=5)
    client.start(timeout=TIMEOUT_S)
    assert client.get("/who")[0] == b"1"
    client.stop()
    client.close()
    process.kill()
    process.wait()


def test_embedded_servers_stop_in_order(embedded, tmp_path):
    done = subprocess.run([embedded, "0"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=TIMEOUT_S)
    assert done.returncode == 0 and done.stdout.endswith("both stopped\n")
    assert {entry for entry in os.listdir(tmp_path)} == {"embed-data-first", "embed-data-second"}


def test_the_example_is_short():
    lines = (REPO / "examples" / "embed_server.c").read_text().splitlines()
    assert len(lines) < 80
