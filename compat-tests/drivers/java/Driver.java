import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.apache.zookeeper.KeeperException;

/**
 * The official Java client behind the line protocol of the tests (see harness/clients.py).
 * One JSON request per line on stdin, one JSON reply or event per line on stdout.
 */
public final class Driver {
    static final ObjectMapper JSON = new ObjectMapper();
    private static final int BADARGUMENTS = -8;
    private static final int CONNECTIONLOSS = -4;

    /** Something that answers operations under one handle: a ZooKeeper or a Curator client. */
    interface Handle {
        void call(String op, JsonNode args, Reply reply) throws Exception;
    }

    /** Where the answer to one request goes. */
    static final class Reply {
        private final long id;

        Reply(long id) {
            this.id = id;
        }

        void ok(JsonNode result) {
            ObjectNode line = JSON.createObjectNode().put("id", id);
            line.set("result", result);
            emit(line);
        }

        void ok() {
            ok(JSON.nullNode());
        }

        void error(int code, JsonNode results) {
            ObjectNode line = JSON.createObjectNode().put("id", id).put("err", code);
            if (results != null) {
                line.set("results", results);
            }
            emit(line);
        }

        void unsupported(String what) {
            emit(JSON.createObjectNode().put("id", id).put("unsupported", what));
        }

        void failure(Throwable problem) {
            int code = CONNECTIONLOSS;
            if (problem instanceof KeeperException) {
                code = ((KeeperException) problem).code().intValue();
            } else if (problem instanceof IllegalArgumentException) {
                code = BADARGUMENTS;    // the library refused the arguments by itself
            }
            emit(JSON.createObjectNode().put("id", id).put("err", code)
                    .put("msg", problem.toString()));
        }
    }

    // The real stdout; System.out is turned away so that no library can write into the protocol.
    private static PrintStream out;
    private static final Map<String, Handle> HANDLES = new ConcurrentHashMap<>();
    private static final ExecutorService WORKERS = Executors.newCachedThreadPool(task -> {
        Thread thread = new Thread(task, "worker");
        thread.setDaemon(true);
        return thread;
    });

    private Driver() {
    }

    static void emit(ObjectNode line) {
        synchronized (Driver.class) {
            out.println(line);
        }
    }

    static void event(String client, ObjectNode event) {
        ObjectNode line = JSON.createObjectNode().put("client", client);
        line.set("event", event);
        emit(line);
    }

    /** Run something that blocks, away from the threads that must not. */
    static void later(Reply reply, Blocking task) {
        WORKERS.execute(() -> {
            try {
                task.run();
            } catch (Throwable problem) {
                reply.failure(problem);
            }
        });
    }

    interface Blocking {
        void run() throws Exception;
    }

    private static void serve(JsonNode request) {
        Reply reply = new Reply(request.get("id").asLong());
        String name = request.get("client").asText();
        String op = request.get("op").asText();
        JsonNode args = request.get("args");
        try {
            if (op.equals("connect")) {
                ZkHandle handle = new ZkHandle(name);
                HANDLES.put(name, handle);
                later(reply, () -> handle.connect(args, reply));
            } else if (op.equals("curator_connect")) {
                HANDLES.put(name, new CuratorHandle(name, args));
                reply.ok();
            } else {
                HANDLES.get(name).call(op, args, reply);
            }
        } catch (Throwable problem) {
            reply.failure(problem);
        }
    }

    public static void main(String[] argv) throws Exception {
        out = new PrintStream(System.out, true, "UTF-8");
        System.setOut(System.err);
        BufferedReader in =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            serve(JSON.readTree(line));
        }
        System.exit(0);
    }
}
