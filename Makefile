# zk: plain make, no configure step. `make` builds libzk.a, zkd and zkcli from zk.c itself.

CC = cc
AR = ar
CFLAGS = -O2 -g
LDFLAGS =
PYTHON = PYTHONDONTWRITEBYTECODE=1 python3
PREFIX = /usr/local
DESTDIR =

STRICT = -std=c11 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla
COMPILE = $(CC) $(STRICT) $(CPPFLAGS) $(CFLAGS) -pthread

PROGRAMS = zkd zkcli
ROOMS = $(shell awk '!/^\#/ && NF { print $$1 }' src/rooms)
SOURCES = $(ROOMS:%=src/%.c) $(ROOMS:%=src/%.h) src/rooms src/amalgamate
SHELL_SOURCES = $(wildcard src/shell/*.[ch]) src/amalgamate

all: libzk.a $(PROGRAMS)

build/zk.o: zk.c zk.h
	@mkdir -p build
	$(COMPILE) -c zk.c -o $@

libzk.a: build/zk.o
	rm -f $@
	$(AR) rcs $@ build/zk.o

zkd: zkd.c zk.h libzk.a
	$(COMPILE) zkd.c libzk.a $(LDFLAGS) -o $@

zkcli: zkcli.c zk.h libzk.a
	$(COMPILE) zkcli.c libzk.a $(LDFLAGS) -o $@

# The library in one file, and the shell in another. `check` fails when a committed one is not what
# src/ makes.
zk.c: $(SOURCES)
	@mkdir -p build
	sh src/amalgamate >build/zk.c.new
	mv build/zk.c.new $@

zkcli.c: $(SHELL_SOURCES)
	@mkdir -p build
	sh src/amalgamate shell >build/zkcli.c.new
	mv build/zkcli.c.new $@

check:
	@mkdir -p build
	sh src/amalgamate >build/zk.c.check
	cmp zk.c build/zk.c.check
	sh src/amalgamate shell >build/zkcli.c.check
	cmp zkcli.c build/zkcli.c.check

# One object per room, for a fast turn-around; leaves ./zkd and ./zkcli too.
DEV_OBJECTS = $(ROOMS:%=build/dev/%.o)

dev: $(DEV_OBJECTS) zkcli.c
	@for p in $(PROGRAMS); do \
	    echo $$p; $(COMPILE) $$p.c $(DEV_OBJECTS) $(LDFLAGS) -o $$p || exit 1; done

build/dev/prelude.h: src/amalgamate
	@mkdir -p build/dev
	sh src/amalgamate prelude >$@

build/dev/%.o: src/%.c build/dev/prelude.h
	@mkdir -p $(@D)
	$(COMPILE) -Werror -DZK_PRIVATE= -include build/dev/prelude.h -Isrc -I. -MMD -c $< -o $@

-include $(DEV_OBJECTS:.o=.d)

run: all
	./zkd

# Three servers on loopback; data under ./zk-data/ensemble.
run-ensemble: all
	examples/ensemble/ensemble start

stop-ensemble:
	examples/ensemble/ensemble stop

# ARGS go to pytest, or to the benchmark: make test ARGS="-k watches"
test: all
	compat-tests/run $(ARGS)

bench: all
	$(PYTHON) compat-tests/bench/bench.py $(ARGS)

# Ensembles of three, stock and zkd in one run.
bench-ensemble: all
	$(PYTHON) compat-tests/bench/ensemble.py $(ARGS)

# The client library beside Apache's C client, and zkcli beside zkCli, on one server.
bench-client: all
	$(PYTHON) compat-tests/bench/client.py $(ARGS)

# Seeded random operations, answered by stock and by zkd: make differential N=100000
N = 20000
differential: all
	cd compat-tests && $(PYTHON) -m harness.cache && $(PYTHON) raw/differential.py $(N)

fuzz:
	compat-tests/fuzz/run

# Whole ensembles in one process, on a simulated network and simulated disks: make sim SEEDS=10000,
# or one of them again, told in words or drawn: make sim SEED=7 TRACE=1 SVG=seven.svg WINDOW=0-2000 (ms)
SEEDS = 2000
sim:
	@compat-tests/sim/build
	build/sim/sim.bin $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(if $(TRACE),--trace) \
	    $(if $(SVG),--svg $(SVG)) $(if $(WINDOW),--window $(WINDOW))

# Real servers, killed, paused, cut off and restarted under load; each run another story.
soak: all
	KILL_CYCLES=2000 KILL_SEED=$$(date +%s) compat-tests/run quorum/test_kills.py -k cycles -n 0 -s
	$(MAKE) sim SEEDS=20000

# The suite against a zkd that watches its own memory, or its own threads.
ASAN = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
TSAN = -O1 -g -fno-omit-frame-pointer -fsanitize=thread

build/asan/zkd: zkd.c zk.c zk.h
	@mkdir -p $(@D)
	$(CC) $(STRICT) $(CPPFLAGS) $(ASAN) -pthread zkd.c zk.c $(LDFLAGS) -o $@

build/tsan/zkd: zkd.c zk.c zk.h
	@mkdir -p $(@D)
	$(CC) $(STRICT) $(CPPFLAGS) $(TSAN) -pthread zkd.c zk.c $(LDFLAGS) -o $@

asan: all build/asan/zkd
	ZKD=$(CURDIR)/build/asan/zkd compat-tests/run $(ARGS)

tsan: all build/tsan/zkd
	ZKD=$(CURDIR)/build/tsan/zkd compat-tests/run $(ARGS)

install: all
	mkdir -p $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib
	cp $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	cp zk.h $(DESTDIR)$(PREFIX)/include
	cp libzk.a $(DESTDIR)$(PREFIX)/lib

clean:
	rm -rf build libzk.a zkd zkcli

.PHONY: all check dev run run-ensemble stop-ensemble test bench bench-ensemble bench-client differential fuzz sim soak asan tsan install clean
