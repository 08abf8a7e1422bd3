# SPDX-License-Identifier: GPL-2.0
#
# The entry points. Each is a line that calls a script; README.md and
# CONTRIBUTING.md explain them.
# Variables given on the command line reach the scripts through the environment.

.PHONY: help kselftest regress fio kunit bench mutants promises pressure check tree refresh mbox exec shell
.NOTPARALLEL:

help: ## this list
	@echo 'Targets:'
	@sed -n -E 's/^([a-z]+):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14
	@echo
	@sed -n '/^# Variables,/,/^$$/s/^# \?//p' $(MAKEFILE_LIST)

kselftest: ## the main job: fetch, apply, build, boot, run every fuse_wb test
	@scripts/kselftest.sh

regress: ## what a user can observe, base against patched: no unlisted difference
	@scripts/regress.sh

fio: ## fio on one file, opened in every way, beside buffered and mapped jobs
	@scripts/fio.sh

kunit: ## the KUnit suites, through the kernel's own kunit.py
	@scripts/kunit.sh

bench: ## side-by-side speed of the base and the patched kernel
	@scripts/bench.sh

mutants: ## the tests on kernels that break a promise, one line each: MUTANTS=
	@scripts/mutants.sh $(MUTANTS)

promises: ## write scripts/tests/*.md: which tests prove what, and fail without which patch
	@scripts/promises.py

pressure: ## base against patched, when more is written than fits into memory: a table
	@scripts/pressure.sh

check: ## all that CI runs: scripts' own tests, lint, KUnit, kselftests
	@scripts/check.sh

tree: ## make a git tree of the series at O/tree, a commit for each patch
	@scripts/tree.sh make

refresh: ## turn the commits of that tree into the patches of this repository
	@scripts/tree.sh refresh

mbox: ## the series, or GROUP=, as a mailbox for git am, with a cover letter
	@scripts/tree.sh mbox

exec: ## run CMD='PROG ARGS' in the guest, PROG being a static program of yours
	@scripts/exec.sh "$$CMD"

shell: ## a shell in the guest
	@scripts/exec.sh

# Variables, with their defaults:
#   ARCH=x86_64        x86_64 (QEMU) or um (User Mode Linux); for kunit: um
#   KERNEL=patched     patched, or base: the same configuration without the series
#   KSRC=              a kernel source tree of yours; it is only read
#   O=build            build directory
#   TESTS=             globs of the tests to run, !GLOB: not to run; for kunit:
#                      SUITE or SUITE.TEST; for regress: AREA.NAME; for fio:
#                      CONNECTION.OPEN.ENGINE
#   MUTANTS=           tables or lines of scripts/tests/mutants; default: all
#   REPEAT=1           run the suite so many times
#   DEBUG=             kasan, lockdep, kcsan or kmemleak
#   EXTRA_PATCHES=     patches to put on top of the series, in order
#   GROUP=all          for mbox: a group of the series, or each of them
#   LEAVE_OUT=         patches of the series to leave out, by file name, which may lack
#                      folder, number and .patch
#   MEM=4096 CPUS=2    the guest's memory in MiB and its processors
#   JOBS=              so many guests side by side, for kselftest; default: as many as
#                      processors and memory allow, 2 at least
#   ICOUNT=0           1: virtual time by executed instructions, one processor
#   METER=icount       for bench: icount (QEMU), direct (direct I/O), um (wall
#                      clock in UML), host or profile
#   ROUNDS=3           for bench: measure so many times
#   SCHEDULES=20000    for kunit: orders of calls and replies that are explored
#   SEED=1             for kunit: seed of the first of them
#   TIMEOUT=900        seconds that the guest may take
#   V=0                1: print every command and the guest's console

