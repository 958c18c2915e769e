/*
 * zookeeper_log.c: the log, the errors in words, and the constants of the C interface of Apache
 * ZooKeeper.
 */
#include "zookeeper_private.h"

#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* --- constants --- */

const int ZOO_PERM_READ = 1;
const int ZOO_PERM_WRITE = 2;
const int ZOO_PERM_CREATE = 4;
const int ZOO_PERM_DELETE = 8;
const int ZOO_PERM_ADMIN = 16;
const int ZOO_PERM_ALL = 31;

const int ZOOKEEPER_WRITE = 1;
const int ZOOKEEPER_READ = 2;

const int ZOO_PERSISTENT = 0;
const int ZOO_EPHEMERAL = 1;
const int ZOO_PERSISTENT_SEQUENTIAL = 2;
const int ZOO_EPHEMERAL_SEQUENTIAL = 3;
const int ZOO_CONTAINER = 4;
const int ZOO_PERSISTENT_WITH_TTL = 5;
const int ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL = 6;
const int ZOO_SEQUENCE = 2;

const int ZOO_EXPIRED_SESSION_STATE = -112;
const int ZOO_AUTH_FAILED_STATE = -113;
const int ZOO_CONNECTING_STATE = 1;
const int ZOO_ASSOCIATING_STATE = 2;
const int ZOO_CONNECTED_STATE = 3;
const int ZOO_READONLY_STATE = 5;
const int ZOO_SSL_CONNECTING_STATE = 7;
const int ZOO_NOTCONNECTED_STATE = 999;

const int ZOO_CREATED_EVENT = 1;
const int ZOO_DELETED_EVENT = 2;
const int ZOO_CHANGED_EVENT = 3;
const int ZOO_CHILD_EVENT = 4;
const int ZOO_SESSION_EVENT = -1;
const int ZOO_NOTWATCHING_EVENT = -2;

static char world[] = "world", anyone[] = "anyone", auth[] = "auth", empty[] = "";
struct Id ZOO_ANYONE_ID_UNSAFE = {world, anyone};
struct Id ZOO_AUTH_IDS = {auth, empty};
static struct ACL open_acl[] = {{31, {world, anyone}}};
static struct ACL read_acl[] = {{1, {world, anyone}}};
static struct ACL creator_acl[] = {{31, {auth, empty}}};
struct ACL_vector ZOO_OPEN_ACL_UNSAFE = {1, open_acl};
struct ACL_vector ZOO_READ_ACL_UNSAFE = {1, read_acl};
struct ACL_vector ZOO_CREATOR_ALL_ACL = {1, creator_acl};

/* --- errors --- */

/* What is not of ZooKeeper is none of a program's business: the nearest that it may know. */
int zoo_error(int error) {
    switch (error) {
    case ZK_OUT_OF_MEMORY:
    case ZK_BUSY: return ZSYSTEMERROR;
    case ZK_TIMED_OUT: return ZCONNECTIONLOSS; /* waited in vain for a connection */
    case ZK_TOO_LARGE: return ZMARSHALLINGERROR;
    case ZK_WRONG_THREAD: return ZINVALIDSTATE;
    default: return error;
    }
}

const char *zerror(int c) {
    static const struct {
        int code;
        const char *text;
    } words[] = {
        {ZOK, "ok"},
        {ZSYSTEMERROR, "system error"},
        {ZRUNTIMEINCONSISTENCY, "run time inconsistency"},
        {ZDATAINCONSISTENCY, "data inconsistency"},
        {ZCONNECTIONLOSS, "connection loss"},
        {ZMARSHALLINGERROR, "marshalling error"},
        {ZUNIMPLEMENTED, "unimplemented"},
        {ZOPERATIONTIMEOUT, "operation timeout"},
        {ZBADARGUMENTS, "bad arguments"},
        {ZINVALIDSTATE, "invalid zhandle state"},
        {ZNEWCONFIGNOQUORUM,
         "no quorum of new config is connected and up-to-date with the leader of last committed "
         "config - try invoking reconfiguration after new servers are connected and synced"},
        {ZRECONFIGINPROGRESS,
         "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)"},
        {ZAPIERROR, "api error"},
        {ZNONODE, "no node"},
        {ZNOAUTH, "not authenticated"},
        {ZBADVERSION, "bad version"},
        {ZNOCHILDRENFOREPHEMERALS, "no children for ephemerals"},
        {ZNODEEXISTS, "node exists"},
        {ZNOTEMPTY, "not empty"},
        {ZSESSIONEXPIRED, "session expired"},
        {ZINVALIDCALLBACK, "invalid callback"},
        {ZINVALIDACL, "invalid acl"},
        {ZAUTHFAILED, "authentication failed"},
        {ZCLOSING, "zookeeper is closing"},
        {ZNOTHING, "(not error) no server responses to process"},
        {ZSESSIONMOVED, "session moved to another server, so operation is ignored"},
        {ZNOTREADONLY, "state-changing request is passed to read-only server"},
        {ZEPHEMERALONLOCALSESSION, "attempt to create ephemeral node on a local session"},
        {ZNOWATCHER, "the watcher couldn't be found"},
        {ZRECONFIGDISABLED,
         "attempts to perform a reconfiguration operation when reconfiguration feature is disable"},
        {ZSESSIONCLOSEDREQUIRESASLAUTH,
         "session closed by server because client is required to do SASL authentication"},
        {ZTHROTTLEDOP, "Operation was throttled due to high load"},
    };
    if (c > 0) return strerror(c);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i].code == c) return words[i].text;
    return "unknown error";
}

/* --- the log --- */

enum { LINE_ROOM = 1024 };

ZooLogLevel logLevel = ZOO_LOG_LEVEL_INFO;
static FILE *log_stream;

void zoo_set_debug_level(ZooLogLevel level) { logLevel = level; }
void zoo_set_log_stream(FILE *logStream) { log_stream = logStream; }
FILE *zoo_get_log_stream(void) { return log_stream ? log_stream : stderr; }

/* date time,ms:process(thread):level@function@line: text */
static int put_prefix(char *out, size_t n, ZooLogLevel level, int line, const char *function) {
    static const char *const levels[] = {"?", "ZOO_ERROR", "ZOO_WARN", "ZOO_INFO", "ZOO_DEBUG"};
    char date[32];
    struct timespec now;
    struct tm local;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)localtime_r(&now.tv_sec, &local);
    (void)strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &local);
#ifdef ZOO_SINGLE_THREADED
    return snprintf(out, n, "%s,%03d:%ld:%s@%s@%d: ", date, (int)(now.tv_nsec / 1000000),
                    (long)getpid(), levels[level <= ZOO_LOG_LEVEL_DEBUG ? level : 0], function,
                    line);
#else
    return snprintf(out, n, "%s,%03d:%ld(0x%lx):%s@%s@%d: ", date, (int)(now.tv_nsec / 1000000),
                    (long)getpid(), (unsigned long)pthread_self(),
                    levels[level <= ZOO_LOG_LEVEL_DEBUG ? level : 0], function, line);
#endif
}

void log_message(log_callback_fn callback, ZooLogLevel curLevel, int line, const char *funcName,
                 const char *format, ...) {
    char text[LINE_ROOM];
    va_list args;
    int n = put_prefix(text, sizeof text, curLevel, line, funcName);
    if (n < 0 || (size_t)n >= sizeof text) n = 0;
    va_start(args, format);
    (void)vsnprintf(text + n, sizeof text - (size_t)n, format, args);
    va_end(args);
    if (callback) {
        callback(text);
        return;
    }
    (void)fprintf(zoo_get_log_stream(), "%s\n", text);
    (void)fflush(zoo_get_log_stream());
}

/* Where this runs, which helps whoever reads the log of another. */
void log_environment(log_callback_fn callback) {
    struct utsname system;
    char folder[LINE_ROOM / 2];
    if (logLevel < ZOO_LOG_LEVEL_INFO) return;
    LOG_INFO(callback, "Client environment:zookeeper.version=zookeeper C client " ZOO_VERSION
                       " (zk " ZK_VERSION ")");
    if (uname(&system) == 0) {
        LOG_INFO(callback, "Client environment:host.name=%s", system.nodename);
        LOG_INFO(callback, "Client environment:os.name=%s", system.sysname);
        LOG_INFO(callback, "Client environment:os.arch=%s", system.release);
        LOG_INFO(callback, "Client environment:os.version=%s", system.version);
    }
    if (getcwd(folder, sizeof folder))
        LOG_INFO(callback, "Client environment:user.dir=%s", folder);
}
