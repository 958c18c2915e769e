# The simulator: the rooms of src/ without those that make system calls, and the files beside this
# one. Run by ./build.
OPT = -O2 -g
HERE = compat-tests/sim
STRICT = -std=c11 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla -Werror
ROOMS = $(shell awk '!/^\#/ && $$2 == "pure" { print $$1 }' $(SRC)/rooms)
ROOMS += host/files host/writer host/logread
PARTS = $(basename $(notdir $(wildcard $(HERE)/*.c)))
OBJECTS = $(ROOMS:%=$(OUT)/%.o) $(PARTS:%=$(OUT)/sim/%.o)
COMPILE = $(CC) $(STRICT) $(OPT) -D_GNU_SOURCE -include $(HERE)/prelude.h \
    -include $(OUT)/rooms.h -I$(SRC) -I. -MMD

$(OUT)/sim.bin: $(OBJECTS)
	$(CC) $(OPT) -Wl,--wrap=txn_apply $(OBJECTS) -o $@

$(OUT)/rooms.h: $(SRC)/amalgamate
	sh $(SRC)/amalgamate prelude >$@

$(OUT)/sim/%.o: $(HERE)/%.c $(OUT)/rooms.h $(HERE)/prelude.h
	@mkdir -p $(@D)
	$(COMPILE) -c $< -o $@

$(OUT)/%.o: $(SRC)/%.c $(OUT)/rooms.h $(HERE)/prelude.h
	@mkdir -p $(@D)
	$(COMPILE) -c $< -o $@

-include $(OBJECTS:.o=.d)
