import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.cache.ChildData;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.RetryOneTime;

/** One Curator client: a contender for locks and leadership, and an owner of caches. */
final class CuratorHandle implements Driver.Handle {
    private static final int RETRY_MS = 100;
    private final String name;
    private final CuratorFramework curator;
    private final CuratorRecipes recipes;
    private final Map<String, InterProcessMutex> locks = new HashMap<>();
    private final Map<String, LeaderLatch> latches = new HashMap<>();
    private final Map<String, CuratorCache> caches = new HashMap<>();
    // A Curator lock belongs to a thread, so a contender is one thread.
    private final ExecutorService contender = Executors.newSingleThreadExecutor(task -> {
        Thread thread = new Thread(task, "contender");
        thread.setDaemon(true);
        return thread;
    });

    CuratorHandle(String name, JsonNode args) {
        this.name = name;
        int timeout = args.get("timeout_ms").asInt();
        curator = CuratorFrameworkFactory.newClient(args.get("hosts").asText(), timeout, timeout,
                new RetryOneTime(RETRY_MS));
        curator.start();
        recipes = new CuratorRecipes(name, curator);
    }

    @Override
    public void call(String op, JsonNode args, Driver.Reply reply) {
        contender.execute(() -> {
            try {
                reply.ok(run(op, args));
            } catch (Throwable problem) {
                reply.failure(problem);
            }
        });
    }

    private JsonNode run(String op, JsonNode args) throws Exception {
        String path = args.path("path").asText(null);
        switch (op) {
            case "lock_acquire":
                return bool(locks.computeIfAbsent(path, p -> new InterProcessMutex(curator, p))
                        .acquire(args.get("wait_ms").asLong(), TimeUnit.MILLISECONDS));
            case "lock_release":
                locks.get(path).release();
                return bool(true);
            case "latch_start":
                LeaderLatch latch = new LeaderLatch(curator, path, name);
                latches.put(path, latch);
                latch.start();
                return bool(true);
            case "latch_leads":
                return bool(latches.get(path).hasLeadership());
            case "latch_leader":
                return Driver.JSON.getNodeFactory()
                        .textNode(latches.get(path).getLeader().getId());
            case "latch_close":
                latches.remove(path).close();
                return bool(true);
            case "cache_start":
                startCache(path);
                return bool(true);
            case "cache_get":
                return childJson(caches.get(path).get(args.get("node").asText()).orElse(null));
            case "cache_close":
                caches.remove(path).close();
                return bool(true);
            case "curator_close":
                curator.close();
                return bool(true);
            default:
                return recipes.run(op, args);
        }
    }

    private void startCache(String path) {
        CuratorCache cache = CuratorCache.build(curator, path);
        cache.listenable().addListener((type, before, after) -> {
            ChildData node = after != null ? after : before;
            ObjectNode event = Driver.JSON.createObjectNode().put("kind", "cache")
                    .put("type", type.name().toLowerCase()).put("path", node.getPath());
            event.set("node", childJson(node));
            Driver.event(name, event);
        });
        caches.put(path, cache);
        cache.start();
    }

    private static JsonNode bool(boolean value) {
        return Driver.JSON.getNodeFactory().booleanNode(value);
    }

    private static JsonNode childJson(ChildData child) {
        if (child == null) {
            return Driver.JSON.nullNode();
        }
        return Driver.JSON.createObjectNode()
                .put("data", Base64.getEncoder().encodeToString(child.getData()))
                .put("version", child.getStat().getVersion());
    }
}
