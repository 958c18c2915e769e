import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicInteger;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.locks.Revoker;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.queue.DistributedPriorityQueue;
import org.apache.curator.framework.recipes.queue.DistributedQueue;
import org.apache.curator.framework.recipes.queue.QueueBuilder;
import org.apache.curator.framework.recipes.queue.QueueConsumer;
import org.apache.curator.framework.recipes.queue.QueueSerializer;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryNTimes;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.UriSpec;

/** The other recipes of one Curator client, each by the path of its nodes. */
final class CuratorRecipes {
    private static final JsonNodeFactory NODES = Driver.JSON.getNodeFactory();
    private final String name;
    private final CuratorFramework curator;
    private final Map<String, Object> objects = new HashMap<>();

    CuratorRecipes(String name, CuratorFramework curator) {
        this.name = name;
        this.curator = curator;
    }

    private interface Maker<T> {
        T make() throws Exception;
    }

    @SuppressWarnings("unchecked")
    private <T> T object(String kind, String path, Maker<T> maker) throws Exception {
        String key = kind + " " + path;
        if (!objects.containsKey(key)) {
            objects.put(key, maker.make());
        }
        return (T) objects.get(key);
    }

    JsonNode run(String op, JsonNode args) throws Exception {
        String family = op.substring(0, op.indexOf('_'));
        String path = args.path("path").asText(null);
        switch (family) {
            case "rw":
                return readWrite(op, path, args);
            case "revocable":
                return revocable(op, path, args);
            case "semaphore":
                return semaphore(op, path, args);
            case "selector":
                return selector(op, path);
            case "barrier":
                return barrier(op, path, args);
            case "double":
                return doubleBarrier(op, path, args);
            case "queue":
                return queue(op, path, args);
            case "counter":
                return counter(op, path, args);
            case "member":
                return member(op, path, args);
            case "service":
                return service(op, path, args);
            default:
                throw new IllegalArgumentException(op);
        }
    }

    private static long waitMs(JsonNode args) {
        return args.path("wait_ms").asLong(60000);
    }

    private static byte[] bytes(JsonNode args) {
        return Base64.getDecoder().decode(args.get("data").asText());
    }

    private static JsonNode text(byte[] data) {
        return data == null ? NODES.nullNode()
                : NODES.textNode(Base64.getEncoder().encodeToString(data));
    }

    private JsonNode readWrite(String op, String path, JsonNode args) throws Exception {
        InterProcessReadWriteLock lock =
                object("rw", path, () -> new InterProcessReadWriteLock(curator, path));
        InterProcessLock side =
                args.path("write").asBoolean() ? lock.writeLock() : lock.readLock();
        if (op.equals("rw_acquire")) {
            return NODES.booleanNode(side.acquire(waitMs(args), TimeUnit.MILLISECONDS));
        }
        side.release();
        return NODES.booleanNode(true);
    }

    private JsonNode revocable(String op, String path, JsonNode args) throws Exception {
        if (op.equals("revocable_ask")) {
            Revoker.attemptRevoke(curator, path);
            return NODES.booleanNode(true);
        }
        InterProcessMutex lock = object("revocable", path, () -> {
            InterProcessMutex made = new InterProcessMutex(curator, path);
            made.makeRevocable(asked ->
                    Driver.event(name, Driver.JSON.createObjectNode().put("kind", "revoke")));
            return made;
        });
        if (op.equals("revocable_acquire")) {
            return NODES.booleanNode(lock.acquire(waitMs(args), TimeUnit.MILLISECONDS));
        }
        lock.release();
        return NODES.booleanNode(true);
    }

    private JsonNode semaphore(String op, String path, JsonNode args) throws Exception {
        InterProcessSemaphoreV2 semaphore = object("semaphore", path,
                () -> new InterProcessSemaphoreV2(curator, path, args.get("leases").asInt()));
        List<Lease> leases = object("leases", path, ArrayList::new);
        if (op.equals("semaphore_acquire")) {
            Lease lease = semaphore.acquire(waitMs(args), TimeUnit.MILLISECONDS);
            if (lease != null) {
                leases.add(lease);
            }
            return NODES.booleanNode(lease != null);
        }
        semaphore.returnLease(leases.remove(leases.size() - 1));
        return NODES.booleanNode(true);
    }

    /** Leads until it is told to resign. */
    private final class Candidate extends LeaderSelectorListenerAdapter {
        private volatile CountDownLatch reign = new CountDownLatch(0);

        @Override
        public void takeLeadership(CuratorFramework client) throws Exception {
            reign = new CountDownLatch(1);
            Driver.event(name, Driver.JSON.createObjectNode().put("kind", "leads"));
            reign.await();
        }

        @Override
        public void stateChanged(CuratorFramework client, ConnectionState state) {
            super.stateChanged(client, state);
        }
    }

    private JsonNode selector(String op, String path) throws Exception {
        Candidate candidate = object("candidate", path, Candidate::new);
        LeaderSelector selector = object("selector", path, () -> {
            LeaderSelector made = new LeaderSelector(curator, path, candidate);
            made.setId(name);
            return made;
        });
        switch (op) {
            case "selector_start":
                selector.autoRequeue();
                selector.start();
                return NODES.booleanNode(true);
            case "selector_leads":
                return NODES.booleanNode(selector.hasLeadership());
            case "selector_leader":
                return NODES.textNode(selector.getLeader().getId());
            case "selector_resign":
                candidate.reign.countDown();
                return NODES.booleanNode(true);
            default:
                selector.close();
                candidate.reign.countDown();
                return NODES.booleanNode(true);
        }
    }

    private JsonNode barrier(String op, String path, JsonNode args) throws Exception {
        DistributedBarrier barrier =
                object("barrier", path, () -> new DistributedBarrier(curator, path));
        switch (op) {
            case "barrier_close":
                barrier.setBarrier();
                return NODES.booleanNode(true);
            case "barrier_open":
                barrier.removeBarrier();
                return NODES.booleanNode(true);
            default:
                return NODES.booleanNode(
                        barrier.waitOnBarrier(waitMs(args), TimeUnit.MILLISECONDS));
        }
    }

    private JsonNode doubleBarrier(String op, String path, JsonNode args) throws Exception {
        DistributedDoubleBarrier barrier = object("double", path, () ->
                new DistributedDoubleBarrier(curator, path, args.get("members").asInt()));
        return NODES.booleanNode(op.equals("double_enter")
                ? barrier.enter(waitMs(args), TimeUnit.MILLISECONDS)
                : barrier.leave(waitMs(args), TimeUnit.MILLISECONDS));
    }

    private static final QueueSerializer<byte[]> RAW = new QueueSerializer<byte[]>() {
        @Override
        public byte[] serialize(byte[] item) {
            return item;
        }

        @Override
        public byte[] deserialize(byte[] bytes) {
            return bytes;
        }
    };

    /** Tells of each item. */
    private final class Consumer implements QueueConsumer<byte[]> {
        @Override
        public void consumeMessage(byte[] message) {
            ObjectNode event = Driver.JSON.createObjectNode().put("kind", "item");
            event.set("data", text(message));
            Driver.event(name, event);
        }

        @Override
        public void stateChanged(CuratorFramework client, ConnectionState state) {
            // nothing depends on it
        }
    }

    private QueueBuilder<byte[]> builder(String path, boolean consumes) {
        return QueueBuilder.builder(curator, consumes ? new Consumer() : null, RAW, path);
    }

    private JsonNode queue(String op, String path, JsonNode args) throws Exception {
        int layout = args.path("layout").asInt();
        if (layout == 0) {
            SimpleDistributedQueue queue =
                    object("queue", path, () -> new SimpleDistributedQueue(curator, path));
            return op.equals("queue_put") ? NODES.booleanNode(queue.offer(bytes(args)))
                    : text(queue.poll(waitMs(args), TimeUnit.MILLISECONDS));
        }
        boolean consumes = op.equals("queue_consume");
        String kind = op + layout;
        if (layout == 1) {
            DistributedQueue<byte[]> queue = object(kind, path, () -> {
                DistributedQueue<byte[]> made = builder(path, consumes).buildQueue();
                made.start();
                return made;
            });
            if (op.equals("queue_put")) {
                queue.put(bytes(args));
            }
            return NODES.booleanNode(true);
        }
        DistributedPriorityQueue<byte[]> queue = object(kind, path, () -> {
            DistributedPriorityQueue<byte[]> made =
                    builder(path, consumes).buildPriorityQueue(1);
            made.start();
            return made;
        });
        if (op.equals("queue_put")) {
            queue.put(bytes(args), args.path("priority").asInt());
        }
        return NODES.booleanNode(true);
    }

    private JsonNode counter(String op, String path, JsonNode args) throws Exception {
        long value = args.path("value").asLong();
        switch (args.get("class").asText()) {
            case "long": {
                DistributedAtomicLong number = object("long", path, () ->
                        new DistributedAtomicLong(curator, path, new RetryNTimes(100, 10)));
                return NODES.numberNode(op.equals("counter_add")
                        ? number.add(value).postValue() : number.get().postValue());
            }
            case "int": {
                DistributedAtomicInteger number = object("int", path, () ->
                        new DistributedAtomicInteger(curator, path, new RetryNTimes(100, 10)));
                return NODES.numberNode(op.equals("counter_add")
                        ? number.add((int) value).postValue() : number.get().postValue());
            }
            default: {
                SharedCount count = object("count", path, () -> {
                    SharedCount made = new SharedCount(curator, path, 0);
                    made.start();
                    return made;
                });
                if (op.equals("counter_set")) {
                    count.setCount((int) value);
                }
                return NODES.numberNode(count.getCount());
            }
        }
    }

    private JsonNode member(String op, String path, JsonNode args) throws Exception {
        GroupMember member = object("member", path, () -> {
            GroupMember made = new GroupMember(curator, path, args.get("id").asText());
            made.start();
            return made;
        });
        if (op.equals("member_close")) {
            member.close();
            return NODES.booleanNode(true);
        }
        ArrayNode names = NODES.arrayNode();
        new TreeSet<>(member.getCurrentMembers().keySet()).forEach(names::add);
        return names;
    }

    private JsonNode service(String op, String path, JsonNode args) throws Exception {
        ServiceDiscovery<String> discovery = object("service", path, () -> {
            ServiceDiscovery<String> made = ServiceDiscoveryBuilder.builder(String.class)
                    .client(curator).basePath(path).build();
            made.start();
            return made;
        });
        String service = args.get("name").asText();
        if (op.equals("service_register")) {
            discovery.registerService(ServiceInstance.<String>builder().name(service)
                    .id(args.get("id").asText()).address(args.get("address").asText())
                    .port(args.get("port").asInt()).payload(args.path("payload").asText(null))
                    .uriSpec(new UriSpec("{scheme}://{address}:{port}")).build());
            return NODES.booleanNode(true);
        }
        ArrayNode found = NODES.arrayNode();
        for (ServiceInstance<String> one : discovery.queryForInstances(service)) {
            found.add(Driver.JSON.createObjectNode().put("name", one.getName())
                    .put("id", one.getId()).put("address", one.getAddress())
                    .put("port", one.getPort()).put("ssl_port", one.getSslPort())
                    .put("payload", one.getPayload())
                    .put("type", one.getServiceType().name()).put("enabled", one.isEnabled())
                    .put("registered", one.getRegistrationTimeUTC())
                    .put("uri", one.getUriSpec() == null ? null : one.buildUriSpec()));
        }
        return found;
    }
}
