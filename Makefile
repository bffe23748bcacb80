# make try     installs what is missing, builds, prepares the machine image, runs a first sandbox
# make check   the same set-up, then every test
# make install PREFIX=/usr/local DESTDIR=
PREFIX ?= /usr/local
BUILD ?= build

.PHONY: build try check install clean setup setup-try setup-check

build: setup
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) --prefix=$(PREFIX) >/dev/null
	@meson configure $(BUILD) -Dprefix=$(PREFIX) >/dev/null
	@ninja -C $(BUILD)

try: setup-try build
	@scripts/try.sh $(BUILD)/paddock

check: setup-check build
	@tests/run-all.sh $(BUILD)

install: build
	DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-gcc $(BUILD)-clang $(BUILD)-analyzer

setup:
	@scripts/setup.sh build

setup-try:
	@scripts/setup.sh try

setup-check:
	@scripts/setup.sh check
