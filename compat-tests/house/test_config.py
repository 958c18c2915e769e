"""zoo.cfg as src/ensemble/config reads it: grammar, checks and messages are those of stock."""

import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
ROOMS = ["ensemble/config", "base/base", "base/log"]
BASE = "dataDir=/data\nclientPort=2181\n"
FORM = (" does not have the form server_config or server_config;client_config where server_config"
        " is the pipe separated list of host:port:port or host:port:port:type and client_config is"
        " port or host:port")


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    """Runs the driver over a text, with the sanitizers watching; returns its lines."""
    tmp = tmp_path_factory.mktemp("config")
    sources = [TOP / "src" / f"{room}.c" for room in ROOMS]
    subprocess.run(["cc", "-std=c11", "-g", "-fsanitize=address,undefined",
                    "-fno-sanitize-recover=all", f"-I{TOP}/src", "-o", tmp / "config_dump",
                    Path(__file__).with_name("config_dump.c"), *sources], check=True)

    def run(mode, text, *more):
        if mode == "args":
            arguments = [text, *more]
        else:
            (tmp / "zoo.cfg").write_bytes(text if isinstance(text, bytes) else text.encode())
            arguments = [tmp / "zoo.cfg", *more]
        done = subprocess.run([tmp / "config_dump", mode, *arguments], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().split("\n")[:-1]

    run.tmp = tmp
    return run


def fields(lines):
    assert not [line for line in lines if line.startswith(("WRAPPED ", "PLAIN "))], lines
    return dict(line.split("=", 1) for line in lines
                if "=" in line and not line.startswith(("INFO", "WARN", "ERROR")))


# --- the grammar of java.util.Properties, row by row ---

@pytest.mark.parametrize("text,expected", [
    # character set: bytes are Latin-1; a byte order mark belongs to the first key
    ("k=é", ["k -> [Ã©]"]),
    (b"k=\xe9", ["k -> [é]"]),
    (b"\xef\xbb\xbfk=1\nl=2", ["ï»¿k -> [1]", "l -> [2]"]),
    # line ends
    ("a=1\nb=2\rc=3\r\nd=4", ["a -> [1]", "b -> [2]", "c -> [3]", "d -> [4]"]),
    ("a=1\n", ["a -> [1]"]),
    ("", []),
    # blank lines and comments
    (" \t\f\n\n  a=1\n\r\n", ["a -> [1]"]),
    ("#a=1\n  ! b=2\n\t#c\nd=4", ["d -> [4]"]),
    ("# comment \\\na=1", ["a -> [1]"]),
    ("o=x # y", ["o -> [x # y]"]),
    ("a#b=1", ["a#b -> [1]"]),
    # continuation
    ("a=1\\\n  2", ["a -> [12]"]),
    ("a=1\\\r\n\t2", ["a -> [12]"]),
    ("a=1\\\\\nb=2", ["a -> [1\\]", "b -> [2]"]),
    ("a=1\\\\\\\n2", ["a -> [1\\2]"]),
    ("a=1\\\n\nb=2", ["a -> [1]", "b -> [2]"]),
    ("a=1\\\n  # b", ["a -> [1# b]"]),
    ("a\\\n  b=1", ["ab -> [1]"]),
    ("\\\n#a=1\nb=2", ["b -> [2]"]),
    ("a=1\\", ["a -> [1]"]),
    # separators
    ("a 3\nb:3\nc=3\nd = 3\ne\t:\f3", [f"{k} -> [3]" for k in "abcde"]),
    ("l==x\nm =: y\nn = : y\no  p q", ["l -> [=x]", "m -> [: y]", "n -> [: y]", "o -> [p q]"]),
    ("a\\ b\\:c\\=d=1", ["a b:c=d -> [1]"]),
    ("alone\n=v", ["alone -> []", " -> [v]"]),
    # values are trimmed, of everything up to the blank
    ("a=  x  \t", ["a -> [x]"]),
    ("a=\\u0000\\t x\\n\\u0001", ["a -> [x]"]),
    # escapes
    (r"a=\t\n\r\f|", ["a -> [|]"]),
    (r"a=x\ty", ["a -> [x\ty]"]),
    (r"a=C:\temp\new", ["a -> [C:\temp", "ew]"]),
    (r"dataDir=C:\data\zk", ["dataDir -> [C:datazk]"]),
    (r"a=\u0041\u00e9\u20ac", ["a -> [Aé€]"]),
    (r"a=\ud83d\ude00", ["a -> [😀]"]),
    (r"\u0061=1", ["a -> [1]"]),
    (r"a=\u004", ["MALFORMED"]),
    (r"a=\u00g1", ["MALFORMED"]),
    (r"a=\\u00g1", ["a -> [\\u00g1]"]),
    # duplicates: the last wins
    ("a=1\nb=2\na=3", ["a -> [3]", "b -> [2]"]),
    ("A=1\na=2", ["A -> [1]", "a -> [2]"]),
])
def test_grammar(dump, text, expected):
    assert dump("props", text) == expected


def test_many_keys(dump):
    text = "".join(f"k{i}={i}\n" for i in range(1000)) + "k500=x\n"
    lines = dump("props", text)
    assert len(lines) == 1000 and lines[500] == "k500 -> [x]" and lines[999] == "k999 -> [999]"


# --- fields ---

def test_defaults(dump):
    f = fields(dump("file", BASE))
    expected = dict(
        client_port="2181", client_port_address="(null)", listen_backlog="-1",
        max_client_cnxns="60", max_cnxns="0", tick_time_ms="3000", min_session_timeout_ms="6000",
        max_session_timeout_ms="60000", data_dir="/data", data_log_dir="/data", snap_count="100000",
        snap_size_limit_kb="4194304", txn_log_size_limit_kb="-1", pre_alloc_size_kb="65536",
        commit_log_count="500", snapshot_size_factor="0.33", force_sync="1",
        fsync_warning_ms="1000", datadir_autocreate="1",
        db_autocreate="1", trust_empty_snapshot="0", digest_enabled="1",
        autopurge_retain="3", autopurge_interval_h="0",
        super_digest="(null)", digest_auth="1", enforce_auth="0", four_letter_whitelist="srvr",
        extended_types="0", jute_max_buffer="1048575", jute_extra_size="1048575",
        global_outstanding_limit="1000", skip_acl="0", enforce_quota="0",
        large_request_max_bytes="104857600", large_request_threshold="-1",
        connection_throttle_tokens="0",
        connection_throttle_freeze_ms="-1", connection_throttle_drop_increase="0.02",
        connection_throttle_drop_decrease="0.002", connection_throttle_global_weight="3",
        sessionless_timeout_ms="10000", container_check_interval_ms="60000",
        container_max_per_minute="10000", container_max_never_used_ms="0", standalone_enabled="1",
        reconfig_enabled="0", init_limit="0", server_id="-2147483648", metrics="0")
    assert {k: f[k] for k in expected} == expected


@pytest.mark.parametrize("text,expected", [
    ("tickTime=+5",
     dict(tick_time_ms="5", min_session_timeout_ms="10", max_session_timeout_ms="100")),
    ("minSessionTimeout=4000\nmaxSessionTimeout=40000",
     dict(min_session_timeout_ms="4000", max_session_timeout_ms="40000")),
    ("minSessionTimeout=-5", dict(min_session_timeout_ms="-5")),
    ("dataDir=/a//b///c/", dict(data_dir="/a/b/c", data_log_dir="/a/b/c")),
    ("dataDir=/", dict(data_dir="/")),
    ("dataDir=./x\ndataLogDir=/y", dict(data_dir="./x", data_log_dir="/y")),
    ("clientPort=0", dict(client_port="0")),
    ("clientPortAddress=::1", dict(client_port_address="::1")),
    ("clientPortAddress=", dict(client_port_address="localhost")),
    ("reconfigEnabled=TRUE", dict(reconfig_enabled="1")),
    # pass-through numbers: decimal, hexadecimal, octal; what cannot be read leaves the default
    ("snapCount=0x10", dict(snap_count="16")),
    ("snapCount=#1F", dict(snap_count="31")),
    ("snapCount=010", dict(snap_count="8")),
    ("snapCount=-0x10", dict(snap_count="2")),
    ("snapCount=08", dict(snap_count="100000")),
    ("snapCount=0x", dict(snap_count="100000")),
    ("snapCount=1e3", dict(snap_count="100000")),
    ("snapCount=", dict(snap_count="100000")),
    ("snapCount=2147483648", dict(snap_count="100000")),
    ("snapSizeLimitInKb=9223372036854775807", dict(snap_size_limit_kb="9223372036854775807")),
    ("snapSizeLimitInKb=-9223372036854775808", dict(snap_size_limit_kb="-9223372036854775808")),
    ("snapSizeLimitInKb=9223372036854775808", dict(snap_size_limit_kb="4194304")),
    ("snapshotSizeFactor=0.5", dict(snapshot_size_factor="0.5")),
    ("snapshotSizeFactor=-1", dict(snapshot_size_factor="-1")),
    ("snapshotSizeFactor=1.5", dict(snapshot_size_factor="0.33")),
    ("snapshotSizeFactor=25e-2", dict(snapshot_size_factor="0.25")),
    ("snapshotSizeFactor=.", dict(snapshot_size_factor="0.33")),
    # words
    ("forceSync=no", dict(force_sync="0")),
    ("forceSync=NO", dict(force_sync="1")),
    ("skipACL=yes", dict(skip_acl="1")),
    ("skipACL=true", dict(skip_acl="0")),
    ("digest.enabled=yes", dict(digest_enabled="0")),
    ("extendedTypesEnabled=True", dict(extended_types="1")),
    # bounds
    ("snapCount=1", dict(snap_count="2")),
    ("commitLogCount=10", dict(commit_log_count="500")),
    ("maxCnxns=-3", dict(max_cnxns="0")),
    ("largeRequestMaxBytes=0", dict(large_request_max_bytes="104857600")),
    ("largeRequestThreshold=-7", dict(large_request_threshold="-1")),
    ("jute.maxbuffer=4194304", dict(jute_max_buffer="4194304", jute_extra_size="4194304")),
    ("jute.maxbuffer.extrasize=10", dict(jute_extra_size="1024")),
    ("autopurge.snapRetainCount=1", dict(autopurge_retain="3")),
    # the rest
    ("4lw.commands.whitelist=stat, ruok", dict(four_letter_whitelist="stat, ruok")),
    ("DigestAuthenticationProvider.superDigest=super:abc=", dict(super_digest="super:abc=")),
    ("enforce.auth.enabled=true\nenforce.auth.schemes=digest",
     dict(enforce_auth="1", enforce_auth_schemes="digest")),
    ("enforce.auth.enabled=true\nenforce.auth.schemes= ip , digest,", dict(enforce_auth="1")),
    ("metricsProvider.className=org.apache.zookeeper.metrics.impl.NullMetricsProvider",
     dict(metrics="1")),
    ("DigestAuthenticationProvider.digestAlg=sha-1", dict(digest_auth="1")),
    # the ensemble
    ("", dict(leader_serves="1", force_snapshot_sync="0", cnx_timeout_ms="5000",
              quorum_cnxn_timeout_ms="-1", election_bind_retries="3", notification_min_ms="200",
              notification_max_ms="60000", leader_epoch_wait_ms="-1", leader_connect_delay_ms="100",
              observer_election_delay_ms="200", sync_enabled="1", quorum_listen_on_all_ips="0")),
    ("leaderServes=no\ncnxTimeout=7\nquorumCnxnTimeoutMs=8\nelectionPortBindRetry=0",
     dict(leader_serves="0", cnx_timeout_ms="7", quorum_cnxn_timeout_ms="8",
          election_bind_retries="0")),
    ("leaderServes=NO\nforceSnapshotSync=true", dict(leader_serves="1", force_snapshot_sync="1")),
    ("fastleader.minNotificationInterval=50\nfastleader.maxNotificationInterval=900",
     dict(notification_min_ms="50", notification_max_ms="900")),
    ("leader.maxTimeToWaitForEpoch=3000\nleaderConnectDelayDuringRetryMs=10",
     dict(leader_epoch_wait_ms="3000", leader_connect_delay_ms="10")),
    ("observer.election.DelayMs=20\nquorumListenOnAllIPs=true",
     dict(observer_election_delay_ms="20", quorum_listen_on_all_ips="1")),
    ("observer.syncEnabled=false", dict(sync_enabled="0")),
    ("observer.syncEnabled=true\nsyncEnabled=false", dict(sync_enabled="1")),
    ("sslQuorum=false\nportUnification=FALSE\nquorum.auth.enableSasl=false",
     dict(client_port="2181")),
])
def test_fields(dump, text, expected):
    f = fields(dump("file", BASE + text))
    assert {k: f[k] for k in expected} == expected


# --- errors; WRAPPED ones stock reports as the cause of "Error processing <file>" ---

@pytest.mark.parametrize("text,error", [
    ("cnxTimeout=x", 'WRAPPED For input string: "x"'),
    ("tickTime=1 2", 'WRAPPED For input string: "1 2"'),
    ("tickTime=0x10", 'WRAPPED For input string: "0x10"'),
    ("tickTime=2147483648", 'WRAPPED For input string: "2147483648"'),
    ("clientPort=", 'WRAPPED For input string: ""'),
    ("quorum.cnxn.threads.size=x", 'WRAPPED For input string: "x"'),
    ("jvm.pause.sleep.time.ms=x", 'WRAPPED For input string: "x"'),
    ("a=\\u12", r"WRAPPED Malformed \uxxxx encoding."),
    ("syncEnabled=yes", "PLAIN Invalid option yes for syncEnabled. Choose 'true' or 'false.'"),
    ("sslQuorum=x", "PLAIN Invalid option x for sslQuorum. Choose 'true' or 'false.'"),
    ("jvm.pause.monitor=",
     "PLAIN Invalid option  for jvm.pause.monitor. Choose 'true' or 'false.'"),
    ("electionAlg=1", "PLAIN Invalid electionAlg value. Only 3 is supported."),
    ("peerType=foo", "PLAIN Unrecognised peertype: foo"),
    ("quorum.auth.serverRequireSasl=true",
     "WRAPPED quorum.auth.enableSasl is disabled, so cannot enable quorum.auth.serverRequireSasl"),
    ("quorum.auth.learnerRequireSasl=true",
     "WRAPPED quorum.auth.enableSasl is disabled, so cannot enable quorum.auth.learnerRequireSasl"),
    ("quorum.auth.enableSasl=true\nquorum.auth.serverRequireSasl=true",
     "WRAPPED quorum.auth.learnerRequireSasl is disabled, so cannot enable"
     " quorum.auth.serverRequireSasl"),
    ("dataDir=", "WRAPPED dataDir is not set"),
    ("clientPort=-1", "WRAPPED port out of range:-1"),
    ("clientPort=70000", "WRAPPED port out of range:70000"),
    ("secureClientPortAddress=::",
     "WRAPPED secureClientPortAddress is set but secureClientPort is not set"),
    ("tickTime=0", "WRAPPED tickTime is not set"),
    ("minSessionTimeout=100\nmaxSessionTimeout=50",
     "WRAPPED minSessionTimeout must not be larger than maxSessionTimeout"),
    ("tickTime=-5", "WRAPPED minSessionTimeout must not be larger than maxSessionTimeout"),
    ("tickTime=200000000", "WRAPPED minSessionTimeout must not be larger than maxSessionTimeout"),
    ("metricsProvider.className=foo.Bar", "WRAPPED metrics provider class was not found"),
    ("enforce.auth.enabled=true", "PLAIN zookeeper.enforce.auth.enabled is true"
                                  " zookeeper.enforce.auth.schemes must be  configured."),
    ("enforce.auth.enabled=true\nenforce.auth.schemes=ip, sasl",
     "PLAIN Authentication scheme sasl is not available."),
    ("enforce.auth.enabled=true\nenforce.auth.schemes=digest\n"
     "DigestAuthenticationProvider.enabled=false",
     "PLAIN Authentication scheme digest is not available."),
    # not built in
    ("secureClientPort=2281", "PLAIN secureClientPort is set, but TLS is not built in"),
    ("sslQuorum=true", "PLAIN sslQuorum is set, but TLS is not built in"),
    ("admin.forceHttps=true", "PLAIN admin.forceHttps is set, but TLS is not built in"),
    ("quorum.auth.enableSasl=true",
     "PLAIN quorum.auth.enableSasl is set, but SASL is not built in"),
    ("sessionRequireClientSASLAuth=true",
     "PLAIN sessionRequireClientSASLAuth is set, but SASL is not built in"),
    ("oraclePath=/x", "PLAIN oraclePath is set, but quorums with an oracle are not built in"),
    ("DigestAuthenticationProvider.digestAlg=SHA-256",
     "PLAIN don't support this ACL digest algorithm: SHA-256 in the current environment"),
])
def test_errors(dump, text, error):
    assert dump("file", BASE + text)[-1] == error


@pytest.mark.parametrize("text,error", [
    # each line alone would be an error; the check that comes first in stock's order speaks
    ("quorum.auth.serverRequireSasl=true\ntickTime=0", "quorum.auth.enableSasl is disabled"),
    ("tickTime=0\nclientPortAddress=::", "dataDir is not set"),
    ("dataDir=/d\ntickTime=0\nclientPortAddress=::", "clientPortAddress is set but clientPort"),
    ("dataDir=/d\ntickTime=0\nminSessionTimeout=9\nmaxSessionTimeout=1", "tickTime is not set"),
    ("dataDir=/d\nmetricsProvider.className=x\nminSessionTimeout=9\nmaxSessionTimeout=1",
     "minSessionTimeout must not"),
    ("dataDir=/d\nmetricsProvider.className=x\nserver.1=a", "metrics provider class"),
    # refusals of our own come after all of them
    ("sslQuorum=true\nsecureClientPort=1\ndataDir=/d\ntickTime=0", "tickTime is not set"),
    ("sslQuorum=true\ndataDir=/d\nserver.1=a:1", "a:1 does not have the form"),
])
def test_order_of_checks(dump, text, error):
    assert error in dump("file", text)[-1]


# --- members ---

@pytest.mark.parametrize("line,error", [
    ("server.1=", "PLAIN " + FORM),
    ("server.1=a:1", "PLAIN a:1" + FORM),
    ("server.1=a:1:2:participant:x", "PLAIN a:1:2:participant:x" + FORM),
    ("server.1=a:1:2;1;2", "PLAIN a:1:2;1;2" + FORM),
    ("server.1=a:1:2;a:b:c", "PLAIN a:1:2;a:b:c" + FORM),
    ("server.1=[::1]", "PLAIN [::1]" + FORM),
    ("server.1=[::1:1:2", "PLAIN [::1:1:2 starts with '[' but has no matching ']:'"),
    ("server.1=[::1]:", "PLAIN [::1]: doesn't have a port after colon"),
    ("server.1=a:x:2", "PLAIN Address unresolved: a:x"),
    ("server.1=a:1:y", "PLAIN Address unresolved: a:y"),
    ("server.1=a:1:2;x", "PLAIN Address unresolved: null:x"),
    ("server.1=a:70000:2", "WRAPPED port out of range:70000"),
    ("server.1=a:1:1", "PLAIN Client and election port must be different! Please update the"
                       " configuration file on server.1"),
    ("server.1=a:1:2:foo", "PLAIN Unrecognised peertype: foo"),
    ("server.1=a:1:2|b:1:2",
     "PLAIN Multiple address feature is disabled, but multiple addresses were specified for sid 1"),
    ("multiAddress.enabled=true\nserver.1=a:1:2:observer|b:1:2:participant",
     "PLAIN Multiple addresses should have similar roles: PARTICIPANT vs PARTICIPANT"),
    ("server.1=a:1:2\ngroup.1=1\nweight.1=-1", "PLAIN weight.1=-1 is out of range"),
    ("".join(f"server.{i}=a:1:2\n" for i in range(257)), "PLAIN there are more than 256 servers"),
    ("server.x=a:1:2", 'WRAPPED For input string: "x"'),
    ("server.=a:1:2", 'WRAPPED For input string: ""'),
    ("server.1=a:1:2\ngroup.1=1\ngroup.2=1", "PLAIN Server 1is in multiple groups"),
    ("server.1=a:1:2\ngroup.1=2", "PLAIN Server 1is not in a group"),
    ("server.1=a:1:2\ngroup.1=1\nweight.1=x", 'WRAPPED For input string: "x"'),
    ("groups=1", 'WRAPPED For input string: "groups"'),
    ("version=xyz", 'WRAPPED For input string: "xyz" under radix 16'),
    ("server.1=a:1:2:Observer", "WRAPPED Observers w/o participants is an invalid configuration"),
    ("server.1=a:1:2\nserver.2=b:1:2:observer",
     "WRAPPED Observers w/o quorum is an invalid configuration"),
    ("standaloneEnabled=false",
     "WRAPPED standaloneEnabled = false then number of participants should be >0"),
    ("server.1=a:1:2\nserver.2=b:1:2", "WRAPPED initLimit is not set"),
    ("server.1=a:1:2\nserver.2=b:1:2\ninitLimit=5", "WRAPPED syncLimit is not set"),
    ("dynamicConfigFile=/x\nserver.1=a:1:2",
     "PLAIN parameter: server.1 must be in a separate dynamic config file"),
])
def test_member_errors(dump, line, error):
    assert dump("file", BASE + line)[-1] == error


@pytest.mark.parametrize("line,member", [
    ("server.1=a:1:2", "1 participant (null) -2147483648"),
    ("server.1=a:1:2;", "1 participant (null) -2147483648"),
    ("server.1=a:1:2:PARTICIPANT;2181", "1 participant 0.0.0.0 2181"),
    ("server.-7=[::1]:1:2;[fe80::1]:2181", "-7 participant fe80::1 2181"),
    ("multiAddress.enabled=true\nserver.1=a:1:2|[b]:3:4;2181", "1 participant 0.0.0.0 2181"),
    ("server.1=a:1:2\ngroup.1=1:2\nweight.1=3", "1 participant (null) -2147483648"),
])
def test_one_member_is_standalone(dump, line, member):
    lines = dump("file", BASE + line)
    assert "ERROR Invalid configuration, only one server specified (ignoring)" in lines
    assert [x for x in lines if x.startswith("member=")] == ["member=" + member]


@pytest.mark.parametrize("text,expected", [
    ("", ["version=0"]),
    ("server.1=a:1:2", ["server.1=a:1:2:participant", "version=0"]),
    ("server.1=[::1]:1:2:Participant;2181\nversion=1F0000000a",
     ["server.1=[::1]:1:2:participant;0.0.0.0:2181", "version=1f0000000a"]),
    ("server.1=a:1:2;[fe80::1]:2181", ["server.1=a:1:2:participant;[fe80::1]:2181", "version=0"]),
    ("weight.7=0\ngroup.3=7:8\nserver.7=a:1:2",
     ["server.7=a:1:2:participant", "group.3=7", "weight.7=0", "version=0"]),
    ("server.1=a:1:2\nserver.01=b:3:4", ["server.1=b:3:4:participant", "version=0"]),
])
def test_config_string(dump, text, expected):
    lines = dump("file", BASE + text)
    assert [x[8:] for x in lines if x.startswith("string: ")] == expected


@pytest.mark.parametrize("text,myid,expected", [
    ("dataDir=/d\nserver.1=a:1:2;2182", "1",
     dict(client_port="2182", client_port_address="0.0.0.0")),
    ("dataDir=/d\nserver.1=a:1:2;2182", "2", dict(client_port="-2147483648", server_id="2")),
    (BASE + "server.1=a:1:2;127.0.0.1:2181", "1", dict(client_port_address="127.0.0.1")),
    (BASE + "server.1=a:1:2", "1", dict(client_port="2181")),
])
def test_myid_chooses_the_client_address(dump, text, myid, expected):
    f = fields(dump("file", text, "myid=" + myid))
    assert {k: f[k] for k in expected} == expected


@pytest.mark.parametrize("text,myid,error", [
    (BASE, "1 ", "WRAPPED serverid 1  is not a number"),
    (BASE, "", "WRAPPED serverid  is not a number"),
    (BASE, "9" * 40, "WRAPPED serverid " + "9" * 40 + " is not a number"),
    (BASE + "server.1=a:1:2;2182", "1",
     "PLAIN client address for this server (id = 1) in static config file is 0.0.0.0:2181 is"
     " different from client address found in dynamic file: 0.0.0.0:2182"),
    (BASE + "clientPortAddress=10.0.0.1\nserver.1=a:1:2;2181", "1",
     "PLAIN client address for this server (id = 1) in static config file is 10.0.0.1:2181 is"
     " different from client address found in dynamic file: 0.0.0.0:2181"),
])
def test_myid_errors(dump, text, myid, error):
    assert dump("file", text, "myid=" + myid)[-1] == error


@pytest.mark.parametrize("text,last", [
    ("server.1=a:1:2;2181", "member=1 participant 0.0.0.0 2181"),
    ("version=100", "PLAIN dynamic file shouldn't have version inside"),
    ("tickTime=1", "PLAIN Unrecognised parameter: tickTime"),
    ("server.1=a:1", "PLAIN a:1" + FORM),
])
def test_dynamic_file(dump, text, last):
    (dump.tmp / "dynamic").write_text(text)
    lines = dump("file", BASE + "dynamicConfigFile=/x\n", f"dynamic={dump.tmp}/dynamic")
    assert lines[-1] == last


# --- log lines ---

@pytest.mark.parametrize("text,line", [
    ("", "INFO clientPortAddress is 0.0.0.0:2181"),
    ("", "INFO secureClientPort is not set"),
    ("", "INFO observerMasterPort is not set"),
    ("clientPortAddress=::1", "INFO clientPortAddress is [::1]:2181"),
    ("dataDir=d2/x//y", "WARN d2/x/y is relative. Prepend ./ to indicate that you're sure!"),
    ("autopurge.snapRetainCount=1", "WARN Invalid autopurge.snapRetainCount: 1. Defaulting to 3"),
    ("snapCount=1", "WARN SnapCount should be 2 or more. Now, snapCount is reset to 2"),
    ("preAllocSize=x", "WARN x is not a valid value for preAllocSize"),
    ("peerType=OBSERVER", "WARN Peer type from servers list (PARTICIPANT) doesn't match peerType"
                          " (OBSERVER). Defaulting to servers list."),
    ("authProvider.1=com.example.Foo", "WARN Problems loading com.example.Foo"),
    ("snapcount=5", "WARN snapcount has no effect: there is no such key"),
    ("zookeeper.snapCount=5",
     "WARN zookeeper.snapCount has no effect: the name of the key is snapCount"),
    ("audit.enable=true", "WARN audit.enable has no effect: there is no audit log"),
    ("admin.serverPort=8081",
     "WARN admin.serverPort has no effect: the admin HTTP server is not built in"),
    ("nio.numWorkerThreads=4",
     "INFO nio.numWorkerThreads has no effect: one thread serves all connections"),
    ("localSessionsEnabled=true",
     "WARN localSessionsEnabled has no effect: local sessions are not built in"),
    ("observerMasterPort=2191",
     "WARN observerMasterPort has no effect: observer masters are not built in"),
    ("syncEnabled=false", "WARN syncEnabled=false has no effect: observers always keep a log"),
    ("multiAddress.enabled=true",
     "WARN multiAddress.enabled has no effect: the first address of a server is used"),
    ("reconfigEnabled=true",
     "WARN reconfigEnabled has no effect: dynamic reconfiguration is not built in"),
    ("readonlymode.enabled=true",
     "WARN readonlymode.enabled has no effect: read-only mode is not built in"),
    ("ssl.keyStore.location=/k", "WARN ssl.keyStore.location has no effect: TLS is not built in"),
])
def test_log_lines(dump, text, line):
    assert line in dump("file", BASE + text)


@pytest.mark.parametrize("text", [
    "audit.enable=false", "admin.forceHttps=false", "dataDir=./d",
    "authProvider.1=org.apache.zookeeper.server.auth.IPAuthenticationProvider"])
def test_nothing_to_say(dump, text):
    lines = dump("file", BASE + text)
    assert not [x for x in lines if x.startswith("WARN") or "no effect" in x]


# --- without a file, and beside it ---

@pytest.mark.parametrize("args,expected", [
    (("2181", "/data/"),
     dict(client_port="2181", data_dir="/data", data_log_dir="/data", tick_time_ms="3000",
          max_client_cnxns="0", max_session_timeout_ms="60000")),
    (("2181", "/data", "2000", "5"),
     dict(tick_time_ms="2000", max_client_cnxns="5", min_session_timeout_ms="4000")),
])
def test_arguments(dump, args, expected):
    f = fields(dump("args", *args))
    assert {k: f[k] for k in expected} == expected


def test_bad_arguments(dump):
    assert dump("args", "x", "/data")[-1] == 'WRAPPED For input string: "x"'


def test_jvm_flags(dump):
    flags = ("jvm=-Xmx1g  -Dzookeeper.snapCount=7 -Djute.maxbuffer=0x200000 -Dzookeeper.maxCnxns=9"
             " -DsnapSizeLimitInKb=5 -Dzookeeper.tickTime=1 -Dzookeeper.skipACL -Dunknown=1")
    f = fields(dump("file", BASE + "maxCnxns=3", flags))
    expected = dict(snap_count="7", jute_max_buffer="2097152", max_cnxns="3", tick_time_ms="3000",
                    snap_size_limit_kb="4194304", skip_acl="0")
    assert {k: f[k] for k in expected} == expected
