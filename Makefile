# SPDX-License-Identifier: GPL-2.0
#
# The entry points. Each calls a script; README.md and CONTRIBUTING.md explain
# them. Variables set on the command line reach the scripts through the environment.

.PHONY: help kselftest regress fio kunit bench mutants promises pressure check tree refresh mbox exec shell
.NOTPARALLEL:

help: ## this list
	@echo 'Targets:'
	@sed -n -E 's/^([a-z]+):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14
	@echo
	@sed -n '/^# Variables,/,/^$$/s/^# \?//p' $(MAKEFILE_LIST)

kselftest: ## the main target: fetch, apply, build, boot, run every fuse_wb test
	@scripts/kselftest.sh

regress: ## compare what a user can observe on base and patched: no unlisted difference
	@scripts/regress.sh

fio: ## fio on one file, opened in every way, with concurrent buffered and mapped jobs
	@scripts/fio.sh

kunit: ## the KUnit suites, through the kernel's own kunit.py
	@scripts/kunit.sh

bench: ## compare the speed of the base and the patched kernel
	@scripts/bench.sh

mutants: ## the tests on kernels that break a promise, one line each: MUTANTS=
	@scripts/mutants.sh $(MUTANTS)

promises: ## write scripts/tests/*.md: the tests for each promise and each patch
	@scripts/promises.py

pressure: ## compare base and patched while more is written than fits into memory
	@scripts/pressure.sh

check: ## everything that CI runs: tests of the scripts, lint, KUnit, kselftests
	@scripts/check.sh

tree: ## make a git tree of the series at O/tree, a commit for each patch
	@scripts/tree.sh make

refresh: ## convert the commits of that tree to the patches of this repository
	@scripts/tree.sh refresh

mbox: ## the series, or GROUP=, as a mailbox for git am, with a cover letter
	@scripts/tree.sh mbox

exec: ## run CMD='PROG ARGS' in the guest, with a static program PROG of yours
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
#   REPEAT=1           run the suite this many times
#   DEBUG=             kasan, lockdep, kcsan or kmemleak
#   EXTRA_PATCHES=     patches to apply on top of the series, in order
#   GROUP=all          for mbox: a group of the series, or each of them
#   LEAVE_OUT=         patches of the series to leave out, by file name, with or without
#                      folder, number and .patch
#   MEM=4096 CPUS=2    the guest's memory in MiB and its processors
#   JOBS=              for kselftest: number of concurrent guests; default: as many as
#                      processors and memory allow, at least 2
#   ICOUNT=0           1: virtual time, counted in instructions; one processor
#   METER=icount       for bench: icount (QEMU), direct (direct I/O), um (wall
#                      clock in UML), host or profile
#   ROUNDS=3           for bench: number of measurements
#   SCHEDULES=20000    for kunit: number of explored orders of calls and replies
#   SEED=1             for kunit: seed of the first order
#   TIMEOUT=900        time limit of the guest in seconds
#   V=0                1: print every command and the guest's console

