// The go-zookeeper/zk client behind the line protocol of the tests (see harness/clients.py):
// one JSON request per line on stdin, one JSON reply or event per line on stdout.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

const (
	connectionLoss = -4
	badArguments   = -8
	sessionExpired = -112
)

type object = map[string]any

// args are the arguments of a call; a field that was not given has its zero value.
type args struct {
	Hosts     string  `json:"hosts"`
	Chroot    string  `json:"chroot"`
	TimeoutMs int64   `json:"timeout_ms"`
	WaitMs    int64   `json:"wait_ms"`
	SessionID *int64  `json:"session_id"`
	Path      string  `json:"path"`
	Data      []byte  `json:"data"`
	Version   *int32  `json:"version"`
	Mode      int32   `json:"mode"`
	TTL       int64   `json:"ttl"`
	Stat      bool    `json:"stat"`
	ACL       []acl   `json:"acl"`
	Watch     *string `json:"watch"`
	Scheme    string  `json:"scheme"`
	Auth      []byte  `json:"auth"`
	Ops       []multi `json:"ops"`
	Joining   *string `json:"joining"`
	Leaving   *string `json:"leaving"`
	Members   *string `json:"members"`
	From      *int64  `json:"from"`
}

type multi struct {
	Op string `json:"op"`
	args
}

type request struct {
	ID     int64  `json:"id"`
	Client string `json:"client"`
	Op     string `json:"op"`
	Args   args   `json:"args"`
}

// acl is one entry, written [perms, scheme, id].
type acl zk.ACL

func (a *acl) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&a.Perms, &a.Scheme, &a.ID})
}

func aclList(entries []acl) []zk.ACL {
	list := make([]zk.ACL, 0, len(entries))
	for _, entry := range entries {
		list = append(list, zk.ACL(entry))
	}
	return list
}

func version(v *int32) int32 {
	if v == nil {
		return -1
	}
	return *v
}

// unsupported is the error for what the library cannot do.
type unsupported string

func (u unsupported) Error() string { return string(u) }

var (
	outLock sync.Mutex
	out     = bufio.NewWriter(os.Stdout)
)

func emit(line object) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	outLock.Lock()
	defer outLock.Unlock()
	out.Write(text)
	out.WriteByte('\n')
	out.Flush()
}

var codes = map[error]int{
	zk.ErrConnectionClosed: connectionLoss, zk.ErrClosing: connectionLoss,
	zk.ErrNoServer: connectionLoss, zk.ErrNoNode: -101, zk.ErrNoAuth: -102,
	zk.ErrBadVersion: -103, zk.ErrNoChildrenForEphemerals: -108, zk.ErrNodeExists: -110,
	zk.ErrNotEmpty: -111, zk.ErrSessionExpired: sessionExpired, zk.ErrInvalidACL: -114,
	zk.ErrAuthFailed: -115, zk.ErrReconfigDisabled: -123, zk.ErrBadArguments: badArguments,
	zk.ErrInvalidPath: badArguments, zk.ErrInvalidFlags: badArguments,
}

// code gives the number of an error; the library keeps a number it does not know in the text only.
func code(err error) int {
	for known, number := range codes {
		if errors.Is(err, known) {
			return number
		}
	}
	if _, text, found := strings.Cut(err.Error(), "unknown error: "); found {
		if number, bad := strconv.Atoi(text); bad == nil {
			return number
		}
	}
	return connectionLoss
}

func stat(s *zk.Stat) object {
	return object{"czxid": s.Czxid, "mzxid": s.Mzxid, "ctime": s.Ctime, "mtime": s.Mtime,
		"version": s.Version, "cversion": s.Cversion, "aversion": s.Aversion,
		"ephemeralOwner": s.EphemeralOwner, "dataLength": s.DataLength,
		"numChildren": s.NumChildren, "pzxid": s.Pzxid}
}

var sessionStates = map[zk.State]string{
	zk.StateHasSession: "connected", zk.StateDisconnected: "disconnected",
	zk.StateExpired: "expired", zk.StateAuthFailed: "auth_failed",
}

var eventTypes = map[zk.EventType]string{
	zk.EventNodeCreated: "created", zk.EventNodeDeleted: "deleted",
	zk.EventNodeDataChanged: "changed", zk.EventNodeChildrenChanged: "child",
}

// handle is one client of the library.
type handle struct {
	name    string
	conn    *zk.Conn
	decided chan string
	locks   sync.Map
}

func (h *handle) event(fields object) {
	emit(object{"client": h.name, "event": fields})
}

func (h *handle) sessionEvent(event zk.Event) {
	state, known := sessionStates[event.State]
	if event.Type != zk.EventSession || !known {
		return
	}
	h.event(object{"kind": "session", "state": state})
	if state != "disconnected" {
		select {
		case h.decided <- state:
		default:
		}
	}
}

// follow forwards the one event of a watch.
func (h *handle) follow(label *string, channel <-chan zk.Event) {
	go func() {
		event := <-channel
		if name, known := eventTypes[event.Type]; known && event.Err == nil {
			h.event(object{"kind": "watch", "watch": *label, "type": name, "path": event.Path})
		}
	}()
}

type silent struct{}

func (silent) Printf(string, ...any) {}

func connect(name string, a args) (*handle, any, error) {
	if a.Chroot != "" {
		return nil, nil, unsupported("chroot")
	}
	if a.SessionID != nil {
		return nil, nil, unsupported("resuming a session by its id")
	}
	h := &handle{name: name, decided: make(chan string, 1)}
	conn, _, err := zk.Connect(strings.Split(a.Hosts, ","),
		time.Duration(a.TimeoutMs)*time.Millisecond, zk.WithEventCallback(h.sessionEvent),
		zk.WithLogger(silent{}), zk.WithLogInfo(false), zk.WithMaxConnBufferSize(8<<20))
	if err != nil {
		return nil, nil, err
	}
	h.conn = conn
	select {
	case <-h.decided:
		return h, h.session(), nil
	case <-time.After(time.Duration(a.WaitMs) * time.Millisecond):
		return h, nil, zk.ErrNoServer
	}
}

// session tells what the library knows of its session but does not publish.
func (h *handle) session() object {
	inside := reflect.ValueOf(h.conn).Elem()
	return object{"session_id": h.conn.SessionID(),
		"passwd":     inside.FieldByName("passwd").Bytes(),
		"timeout_ms": inside.FieldByName("sessionTimeoutMs").Int()}
}

func (h *handle) create(a args) (any, error) {
	var path string
	var err error
	data, list := a.Data, aclList(a.ACL)
	switch {
	case a.Mode == zk.FlagContainer && !a.Stat:
		path, err = h.conn.CreateContainer(a.Path, data, a.Mode, list)
	case a.Mode >= zk.FlagTTL && !a.Stat:
		path, err = h.conn.CreateTTL(a.Path, data, a.Mode, list,
			time.Duration(a.TTL)*time.Millisecond)
	case a.Stat:
		return nil, unsupported("create that returns a stat")
	default:
		path, err = h.conn.Create(a.Path, data, a.Mode, list)
	}
	return object{"path": path}, err
}

func (h *handle) exists(a args) (any, error) {
	var found bool
	var s *zk.Stat
	var err error
	if a.Watch == nil {
		found, s, err = h.conn.Exists(a.Path)
	} else {
		var channel <-chan zk.Event
		found, s, channel, err = h.conn.ExistsW(a.Path)
		if err == nil {
			h.follow(a.Watch, channel)
		}
	}
	if err != nil || !found {
		return nil, err
	}
	return stat(s), nil
}

func (h *handle) get(a args) (any, error) {
	var data []byte
	var s *zk.Stat
	var err error
	if a.Watch == nil {
		data, s, err = h.conn.Get(a.Path)
	} else {
		var channel <-chan zk.Event
		data, s, channel, err = h.conn.GetW(a.Path)
		if err == nil {
			h.follow(a.Watch, channel)
		}
	}
	if err != nil {
		return nil, err
	}
	return object{"data": data, "stat": stat(s)}, nil
}

func (h *handle) children(a args) (any, error) {
	var names []string
	var s *zk.Stat
	var err error
	if a.Watch == nil {
		names, s, err = h.conn.Children(a.Path)
	} else {
		var channel <-chan zk.Event
		names, s, channel, err = h.conn.ChildrenW(a.Path)
		if err == nil {
			h.follow(a.Watch, channel)
		}
	}
	if err != nil {
		return nil, err
	}
	return object{"children": names, "stat": stat(s)}, nil
}

func withStat(s *zk.Stat, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return object{"stat": stat(s)}, nil
}

func (h *handle) getACL(a args) (any, error) {
	entries, s, err := h.conn.GetACL(a.Path)
	if err != nil {
		return nil, err
	}
	list := make([]any, 0, len(entries))
	for _, entry := range entries {
		list = append(list, []any{entry.Perms, entry.Scheme, entry.ID})
	}
	return object{"acl": list, "stat": stat(s)}, nil
}

// failedMulti carries the result of each operation next to the error of the whole.
type failedMulti struct {
	err     error
	results []object
}

func (f failedMulti) Error() string { return f.err.Error() }

func (h *handle) multi(a args) (any, error) {
	ops := make([]any, 0, len(a.Ops))
	for _, op := range a.Ops {
		switch op.Op {
		case "create":
			if op.Mode >= zk.FlagContainer {
				return nil, unsupported("containers and TTL nodes in a multi")
			}
			ops = append(ops, &zk.CreateRequest{Path: op.Path, Data: op.Data,
				Acl: aclList(op.ACL), Flags: op.Mode})
		case "delete":
			ops = append(ops, &zk.DeleteRequest{Path: op.Path, Version: version(op.Version)})
		case "set":
			ops = append(ops, &zk.SetDataRequest{Path: op.Path, Data: op.Data,
				Version: version(op.Version)})
		case "check":
			ops = append(ops, &zk.CheckVersionRequest{Path: op.Path, Version: version(op.Version)})
		}
	}
	answers, err := h.conn.Multi(ops...)
	results := make([]object, 0, len(answers))
	for i, answer := range answers {
		switch {
		case err != nil && answer.Error != nil:
			results = append(results, object{"op": "error", "err": code(answer.Error)})
		case err != nil:
			results = append(results, object{"op": "error", "err": 0})
		case answer.Stat != nil:
			results = append(results, object{"op": "set", "stat": stat(answer.Stat)})
		case a.Ops[i].Op == "create":
			results = append(results, object{"op": "create", "path": answer.String})
		default:
			results = append(results, object{"op": a.Ops[i].Op})
		}
	}
	if err != nil {
		return nil, failedMulti{err, results}
	}
	return results, nil
}

// The library's lock has no way to give up waiting.
func (h *handle) lock(a args) (any, error) {
	lock := zk.NewLock(h.conn, a.Path, zk.WorldACL(zk.PermAll))
	h.locks.Store(a.Path, lock)
	return true, lock.Lock()
}

func (h *handle) unlock(a args) (any, error) {
	lock, _ := h.locks.Load(a.Path)
	return true, lock.(*zk.Lock).Unlock()
}

func (h *handle) reconfig(a args) (any, error) {
	from := int64(-1)
	if a.From != nil {
		from = *a.From
	}
	if a.Members != nil {
		return withStat(h.conn.Reconfig(strings.Split(*a.Members, ","), from))
	}
	split := func(list *string) []string {
		if list == nil {
			return nil
		}
		return strings.Split(*list, ",")
	}
	return withStat(h.conn.IncrementalReconfig(split(a.Joining), split(a.Leaving), from))
}

func (h *handle) call(op string, a args) (any, error) {
	switch op {
	case "close":
		h.conn.Close()
		return nil, nil
	case "create":
		return h.create(a)
	case "delete":
		return nil, h.conn.Delete(a.Path, version(a.Version))
	case "exists":
		return h.exists(a)
	case "get":
		return h.get(a)
	case "set":
		return withStat(h.conn.Set(a.Path, a.Data, version(a.Version)))
	case "get_acl":
		return h.getACL(a)
	case "set_acl":
		return withStat(h.conn.SetACL(a.Path, aclList(a.ACL), version(a.Version)))
	case "children":
		return h.children(a)
	case "sync":
		_, err := h.conn.Sync(a.Path)
		return nil, err
	case "multi":
		return h.multi(a)
	case "add_auth":
		return nil, h.conn.AddAuth(a.Scheme, a.Auth)
	case "lock_acquire":
		return h.lock(a)
	case "lock_release":
		return h.unlock(a)
	case "get_config":
		return h.get(args{Path: "/zookeeper/config", Watch: a.Watch})
	case "reconfig":
		return h.reconfig(a)
	}
	return nil, unsupported(op)
}

func serve(r request, handles *sync.Map) {
	var result any
	var err error
	if r.Op == "connect" {
		var h *handle
		h, result, err = connect(r.Client, r.Args)
		if h != nil {
			handles.Store(r.Client, h)
		}
	} else if found, ok := handles.Load(r.Client); ok {
		result, err = found.(*handle).call(r.Op, r.Args)
	} else {
		err = fmt.Errorf("no client %s", r.Client)
	}
	var lacks unsupported
	var failed failedMulti
	switch {
	case err == nil:
		emit(object{"id": r.ID, "result": result})
	case errors.As(err, &lacks):
		emit(object{"id": r.ID, "unsupported": string(lacks)})
	case errors.As(err, &failed):
		emit(object{"id": r.ID, "err": code(failed.err), "results": failed.results})
	default:
		emit(object{"id": r.ID, "err": code(err), "msg": err.Error()})
	}
}

func main() {
	var handles sync.Map
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go serve(r, &handles)
	}
}
