import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.AsyncCallback;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/**
 * One ZooKeeper session. Every operation uses the asynchronous API: its callbacks and the watch
 * events come from one thread in the order of the wire, so the order of the lines we print is the
 * order in which the server spoke.
 */
final class ZkHandle implements Driver.Handle {
    private final String name;
    private final Map<String, Watcher> watchers = new ConcurrentHashMap<>();
    private final CountDownLatch decided = new CountDownLatch(1);
    private volatile Watcher.Event.KeeperState state;
    private ZooKeeperAdmin admin;       // null for a resumed session
    private ZooKeeper zk;

    ZkHandle(String name) {
        this.name = name;
    }

    void connect(JsonNode args, Driver.Reply reply) throws Exception {
        String hosts = args.get("hosts").asText() + args.path("chroot").asText("");
        int timeout = args.get("timeout_ms").asInt();
        boolean readOnly = args.path("read_only").asBoolean(false);
        if (args.hasNonNull("session_id")) {
            // The admin client cannot resume a session.
            zk = new ZooKeeper(hosts, timeout, this::sessionEvent,
                    args.get("session_id").asLong(), bytes(args, "passwd"), readOnly);
        } else {
            admin = new ZooKeeperAdmin(hosts, timeout, this::sessionEvent, readOnly);
            zk = admin;
        }
        if (!decided.await(args.get("wait_ms").asLong(), TimeUnit.MILLISECONDS)) {
            reply.error(KeeperException.Code.CONNECTIONLOSS.intValue(), null);
        } else if (state == Watcher.Event.KeeperState.Expired) {
            reply.error(KeeperException.Code.SESSIONEXPIRED.intValue(), null);
        } else {
            reply.ok(Driver.JSON.createObjectNode()
                    .put("session_id", zk.getSessionId())
                    .put("passwd", Base64.getEncoder().encodeToString(zk.getSessionPasswd()))
                    .put("timeout_ms", zk.getSessionTimeout()));
        }
    }

    private void sessionEvent(WatchedEvent event) {
        if (event.getType() != Watcher.Event.EventType.None) {
            return;
        }
        state = event.getState();
        Driver.event(name, Driver.JSON.createObjectNode().put("kind", "session")
                .put("state", stateName(event.getState())));
        if (state != Watcher.Event.KeeperState.Disconnected) {
            decided.countDown();
        }
    }

    private static String stateName(Watcher.Event.KeeperState state) {
        switch (state) {
            case SyncConnected: return "connected";
            case ConnectedReadOnly: return "connected_read_only";
            case Disconnected: return "disconnected";
            case Expired: return "expired";
            case AuthFailed: return "auth_failed";
            default: return state.name().toLowerCase();
        }
    }

    /** The watcher with a label of the test's choice; null when the call asks for no watch. */
    private Watcher watcher(JsonNode args) {
        if (!args.hasNonNull("watch")) {
            return null;
        }
        return watchers.computeIfAbsent(args.get("watch").asText(), label -> event -> {
            if (event.getType() != Watcher.Event.EventType.None) {
                Driver.event(name, Driver.JSON.createObjectNode().put("kind", "watch")
                        .put("watch", label).put("type", eventName(event.getType()))
                        .put("path", event.getPath()).put("zxid", event.getZxid()));
            }
        });
    }

    private static String eventName(Watcher.Event.EventType type) {
        switch (type) {
            case NodeCreated: return "created";
            case NodeDeleted: return "deleted";
            case NodeDataChanged: return "changed";
            case NodeChildrenChanged: return "child";
            case DataWatchRemoved: return "data_watch_removed";
            case ChildWatchRemoved: return "child_watch_removed";
            case PersistentWatchRemoved: return "persistent_watch_removed";
            default: return type.name();
        }
    }

    @Override
    public void call(String op, JsonNode args, Driver.Reply reply) throws Exception {
        String path = args.path("path").asText(null);
        int version = args.path("version").asInt(-1);
        switch (op) {
            case "close":
                Driver.later(reply, () -> {
                    zk.close();
                    reply.ok();
                });
                break;
            case "create":
                create(path, args, reply);
                break;
            case "delete":
                zk.delete(path, version, empty(reply), null);
                break;
            case "exists":
                zk.exists(path, watcher(args), statOrNull(reply), null);
                break;
            case "get":
                zk.getData(path, watcher(args), data(reply), null);
                break;
            case "set":
                zk.setData(path, bytes(args, "data"), version, stat(reply), null);
                break;
            case "get_acl":
                zk.getACL(path, new Stat(), (AsyncCallback.ACLCallback) (rc, p, c, acl, stat) ->
                        answer(reply, rc, () -> withStat(stat).set("acl", aclJson(acl))), null);
                break;
            case "set_acl":
                zk.setACL(path, acl(args), version, stat(reply), null);
                break;
            case "children":
                zk.getChildren(path, watcher(args), (AsyncCallback.Children2Callback)
                        (rc, p, c, names, stat) -> answer(reply, rc,
                                () -> withStat(stat).set("children", strings(names))), null);
                break;
            case "sync":
                zk.sync(path, empty(reply), null);
                break;
            case "multi":
                multi(args.get("ops"), reply);
                break;
            default:
                rareCall(op, path, args, reply);
        }
    }

    private void rareCall(String op, String path, JsonNode args, Driver.Reply reply)
            throws Exception {
        switch (op) {
            case "add_auth":
                addAuth(args, reply);
                break;
            case "add_watch":
                zk.addWatch(path, watcher(args), args.get("recursive").asBoolean()
                        ? AddWatchMode.PERSISTENT_RECURSIVE : AddWatchMode.PERSISTENT,
                        empty(reply), null);
                break;
            case "remove_watches":
                removeWatches(path, args, reply);
                break;
            case "ephemerals":
                zk.getEphemerals(path, (AsyncCallback.EphemeralsCallback) (rc, c, paths) ->
                        answer(reply, rc, () -> strings(paths)), null);
                break;
            case "all_children_number":
                zk.getAllChildrenNumber(path, (AsyncCallback.AllChildrenNumberCallback)
                        (rc, p, c, number) -> answer(reply, rc,
                                () -> Driver.JSON.getNodeFactory().numberNode(number)), null);
                break;
            case "who_am_i":
                Driver.later(reply, () -> reply.ok(clientInfo(zk.whoAmI())));
                break;
            case "get_config":
                zk.getConfig(watcher(args), data(reply), null);
                break;
            case "reconfig":
                admin.reconfigure(args.path("joining").asText(null),
                        args.path("leaving").asText(null), args.path("members").asText(null),
                        args.path("from").asLong(-1), data(reply), null);
                break;
            default:
                reply.unsupported(op);
        }
    }

    private void create(String path, JsonNode args, Driver.Reply reply) throws Exception {
        CreateMode mode = CreateMode.fromFlag(args.get("mode").asInt());
        byte[] data = bytes(args, "data");
        List<ACL> acl = acl(args);
        AsyncCallback.Create2Callback full = (rc, p, c, created, stat) ->
                answer(reply, rc, () -> withStat(stat).put("path", created));
        if (mode.isTTL()) {
            zk.create(path, data, acl, mode, full, null, args.get("ttl").asLong());
        } else if (args.path("stat").asBoolean(false)) {
            zk.create(path, data, acl, mode, full, null);
        } else {
            zk.create(path, data, acl, mode, (AsyncCallback.StringCallback)
                    (rc, p, c, created) -> answer(reply, rc,
                            () -> Driver.JSON.createObjectNode().put("path", created)), null);
        }
    }

    /** The library reports nothing on success, so a read behind the auth packet tells. */
    private void addAuth(JsonNode args, Driver.Reply reply) {
        zk.addAuthInfo(args.get("scheme").asText(), bytes(args, "auth"));
        zk.exists("/", false, (rc, p, c, stat) -> answer(reply, rc, Driver.JSON::nullNode), null);
    }

    private void removeWatches(String path, JsonNode args, Driver.Reply reply) {
        Watcher.WatcherType type = Watcher.WatcherType.fromInt(args.get("type").asInt());
        Watcher one = watcher(args);
        if (one != null) {
            zk.removeWatches(path, one, type, false, empty(reply), null);
        } else {
            zk.removeAllWatches(path, type, false, empty(reply), null);
        }
    }

    private void multi(JsonNode ops, Driver.Reply reply) throws Exception {
        List<Op> list = new ArrayList<>();
        for (JsonNode op : ops) {
            list.add(multiOp(op));
        }
        zk.multi(list, (rc, p, c, results) -> {
            ArrayNode json = Driver.JSON.createArrayNode();
            if (results != null) {
                results.forEach(result -> json.add(multiResult(result)));
            }
            if (rc == 0) {
                reply.ok(json);
            } else {
                reply.error(rc, json);
            }
        }, null);
    }

    private Op multiOp(JsonNode op) throws Exception {
        String path = op.get("path").asText();
        int version = op.path("version").asInt(-1);
        switch (op.get("op").asText()) {
            case "create":
                CreateMode mode = CreateMode.fromFlag(op.get("mode").asInt());
                return mode.isTTL()
                        ? Op.create(path, bytes(op, "data"), acl(op), mode, op.get("ttl").asLong())
                        : Op.create(path, bytes(op, "data"), acl(op), mode);
            case "delete": return Op.delete(path, version);
            case "set": return Op.setData(path, bytes(op, "data"), version);
            case "check": return Op.check(path, version);
            default: throw new IllegalArgumentException(op.toString());
        }
    }

    private static JsonNode multiResult(OpResult result) {
        ObjectNode json = Driver.JSON.createObjectNode();
        if (result instanceof OpResult.CreateResult) {
            json.put("op", "create").put("path", ((OpResult.CreateResult) result).getPath());
        } else if (result instanceof OpResult.SetDataResult) {
            Stat stat = ((OpResult.SetDataResult) result).getStat();
            json.put("op", "set").set("stat", statJson(stat));
        } else if (result instanceof OpResult.DeleteResult) {
            json.put("op", "delete");
        } else if (result instanceof OpResult.CheckResult) {
            json.put("op", "check");
        } else {
            json.put("op", "error").put("err", ((OpResult.ErrorResult) result).getErr());
        }
        return json;
    }

    // Answers

    private interface Result {
        JsonNode get();
    }

    private static void answer(Driver.Reply reply, int rc, Result result) {
        if (rc == 0) {
            reply.ok(result.get());
        } else {
            reply.error(rc, null);
        }
    }

    private static AsyncCallback.VoidCallback empty(Driver.Reply reply) {
        return (rc, p, c) -> answer(reply, rc, Driver.JSON::nullNode);
    }

    private static AsyncCallback.StatCallback stat(Driver.Reply reply) {
        return (rc, p, c, stat) -> answer(reply, rc, () -> withStat(stat));
    }

    private static AsyncCallback.StatCallback statOrNull(Driver.Reply reply) {
        return (rc, p, c, stat) -> {
            boolean missing = rc == KeeperException.Code.NONODE.intValue();
            // statJson() makes null of the missing stat
            answer(reply, missing ? 0 : rc, () -> statJson(missing ? null : stat));
        };
    }

    private static AsyncCallback.DataCallback data(Driver.Reply reply) {
        return (rc, p, c, data, stat) -> answer(reply, rc, () -> withStat(stat).put("data",
                data == null ? null : Base64.getEncoder().encodeToString(data)));
    }

    // Values

    private static byte[] bytes(JsonNode args, String field) {
        return args.hasNonNull(field) ? Base64.getDecoder().decode(args.get(field).asText()) : null;
    }

    private static List<ACL> acl(JsonNode args) {
        List<ACL> list = new ArrayList<>();
        for (JsonNode entry : args.get("acl")) {
            list.add(new ACL(entry.get(0).asInt(),
                    new Id(entry.get(1).asText(), entry.get(2).asText())));
        }
        return list;
    }

    private static ArrayNode aclJson(List<ACL> list) {
        ArrayNode json = Driver.JSON.createArrayNode();
        for (ACL entry : list) {
            json.addArray().add(entry.getPerms()).add(entry.getId().getScheme())
                    .add(entry.getId().getId());
        }
        return json;
    }

    private static ArrayNode strings(List<String> list) {
        ArrayNode json = Driver.JSON.createArrayNode();
        list.forEach(json::add);
        return json;
    }

    private static ArrayNode clientInfo(List<ClientInfo> list) {
        ArrayNode json = Driver.JSON.createArrayNode();
        list.forEach(info -> json.addArray().add(info.getAuthScheme()).add(info.getUser()));
        return json;
    }

    private static ObjectNode withStat(Stat stat) {
        return Driver.JSON.createObjectNode().set("stat", statJson(stat));
    }

    private static JsonNode statJson(Stat stat) {
        if (stat == null) {
            return Driver.JSON.nullNode();
        }
        return Driver.JSON.createObjectNode()
                .put("czxid", stat.getCzxid()).put("mzxid", stat.getMzxid())
                .put("ctime", stat.getCtime()).put("mtime", stat.getMtime())
                .put("version", stat.getVersion()).put("cversion", stat.getCversion())
                .put("aversion", stat.getAversion())
                .put("ephemeralOwner", stat.getEphemeralOwner())
                .put("dataLength", stat.getDataLength())
                .put("numChildren", stat.getNumChildren()).put("pzxid", stat.getPzxid());
    }
}
