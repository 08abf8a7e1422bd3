# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Shared by all scripts here: the variables of make help, exit statuses, messages,
# and steps that show their progress. Source it first:
#
#	. "$(dirname "$0")/common.sh"

set -euo pipefail

EX_FAIL=1		# a test failed
EX_USAGE=2		# wrong usage, or a test that must run did not
EX_MACHINERY=69		# no package, no build, no boot
EX_TIMEOUT=124
EX_PANIC=255		# the kernel panicked or printed a splat
export EX_FAIL EX_USAGE EX_MACHINERY EX_TIMEOUT EX_PANIC

export TOP
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
O=${O:-build}
case $O in /*) ;; *) O=$PWD/$O ;; esac
ARCH=${ARCH:-x86_64}
KERNEL=${KERNEL:-patched}
KSRC=${KSRC:-}
TESTS=${TESTS:-}
REPEAT=${REPEAT:-1}
DEBUG=${DEBUG:-}
EXTRA_PATCHES=${EXTRA_PATCHES:-}
LEAVE_OUT=${LEAVE_OUT:-}
MEM=${MEM:-4096}
CPUS=${CPUS:-2}
JOBS=${JOBS:-}
ICOUNT=${ICOUNT:-0}
V=${V:-0}
TIMEOUT=${TIMEOUT:-900}
SEED=${SEED:-}
SCHEDULES=${SCHEDULES:-}
export SELFTEST=tools/testing/selftests/fuse_wb
TARBALL=/usr/src/linux-source-6.12.tar.xz

LOCK_TIMEOUT=${LOCK_TIMEOUT:-1200}	# seconds to wait while another run makes a kernel

# gcc.sh uses the user's own ccache: other clones and build directories can share it, as
# paths below $O are ignored.
export CCACHE_BASEDIR=$O CCACHE_NOHASHDIR=1
export KBUILD_BUILD_TIMESTAMP='1970-01-01' KBUILD_BUILD_USER=fuse_wb KBUILD_BUILD_HOST=fuse_wb
# These are for the make that called us, not for the kernel's make.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

die()
{
	local status=$1

	shift
	printf 'fuse_wb: %s\n' "$*" >&2
	exit "$status"
}

usage_error()
{
	die "$EX_USAGE" "$@"
}

note()
{
	printf 'fuse_wb: %s\n' "$*" >&2
}

check_number()
{
	case $2 in
	''|*[!0-9]*|0*) usage_error "$1='$2' is not a number from 1: say $1=$3" ;;
	esac
}

check_variables()
{
	case $ARCH in
	um|x86_64) ;;
	*) usage_error "ARCH='$ARCH' is not known: use ARCH=x86_64 or ARCH=um" ;;
	esac
	case $KERNEL in
	patched|base) ;;
	*) usage_error "KERNEL='$KERNEL' is not known: use KERNEL=patched or KERNEL=base" ;;
	esac
	case $DEBUG in
	''|kasan|lockdep|kcsan|kmemleak) ;;
	*) usage_error "DEBUG='$DEBUG' is not known: use kasan, lockdep, kcsan or kmemleak" ;;
	esac
	case $ICOUNT in
	0|1) ;;
	*) usage_error "ICOUNT='$ICOUNT' is not known: use ICOUNT=0 or ICOUNT=1" ;;
	esac
	case $TOP in
	*[[:space:]:]*) usage_error "'$TOP' has a space or a colon, which the kernel's make cannot take: move this repository" ;;
	esac
	case $O in
	*[[:space:]:]*) usage_error "O='$O' has a space or a colon, which the kernel's make cannot take: choose another build directory" ;;
	esac
	check_number REPEAT "$REPEAT" 1
	check_number MEM "$MEM" 4096
	check_number CPUS "$CPUS" 2
	[ -z "$JOBS" ] || check_number JOBS "$JOBS" 2
	[ "$ICOUNT" = 0 ] || CPUS=1
	if [ "$ARCH" = um ]; then
		[ "$ICOUNT" = 0 ] || usage_error "ICOUNT=1 needs QEMU: use ARCH=x86_64"
		CPUS=1
	fi
	if [ "$KERNEL" = base ] && [ -n "$EXTRA_PATCHES$LEAVE_OUT" ]; then
		usage_error "KERNEL=base takes no patches: drop EXTRA_PATCHES and LEAVE_OUT, or use KERNEL=patched"
	fi
}

# Sets WORK, the directory of one kernel source below $O, with
#	base/src, patched/src		the source without and with the series
#	base-um/src			without, except for what UML needs to run here
#	KERNEL/ARCH[-DEBUG]		a kernel that was built from it
# The layout is the same for both kernels, so that they share entries of ccache.
find_work()
{
	local version

	if [ -n "$KSRC" ]; then
		[ -d "$KSRC" ] || usage_error "KSRC='$KSRC' is not a directory"
		KSRC=$(cd "$KSRC" && pwd -P)
		[ -r "$KSRC/fs/fuse/file.c" ] ||
			usage_error "KSRC='$KSRC' is not a kernel source tree: it has no fs/fuse/file.c"
		case $O/ in
		"$KSRC"/*) usage_error "O='$O' is inside KSRC='$KSRC', which is never written to: choose another O=" ;;
		esac
		WORK=$O/ksrc-$(basename "$KSRC" | tr -cs '[:alnum:]._\n' -)-$(printf '%s' "$KSRC" | cksum | cut -d' ' -f1)
	else
		version=$(dpkg-query -W -f '${Version}' linux-source-6.12 2>/dev/null) ||
			version=$(cksum <"$TARBALL" | cut -d' ' -f1)
		WORK=$O/linux-$(printf '%s' "$version" | tr -cs '[:alnum:]._\n' -)
	fi
	mkdir -p "$WORK"
}

# The directory of the source of KERNEL. The base kernel of UML has the patches
# of scripts/um, as it does not run on every processor without them.
kernel_tree()
{
	case $KERNEL-$ARCH in
	base-um) printf 'base-um' ;;
	*) printf '%s' "$KERNEL" ;;
	esac
}

kernel_dir()
{
	printf '%s/%s/%s%s' "$WORK" "$(kernel_tree)" "$ARCH" "${DEBUG:+-$DEBUG}"
}

# The bootable image of the kernel of ARCH, KERNEL and DEBUG.
kernel_image()
{
	case $ARCH in
	um) printf '%s/linux' "$(kernel_dir)" ;;
	x86_64) printf '%s/vmlinux' "$(kernel_dir)" ;;
	esac
}

# keep_kernel COPY: let the guests boot a copy, as another run may rebuild the kernel.
keep_kernel()
{
	cp --reflink=auto "$(kernel_image)" "$1" || die "$EX_MACHINERY" "cannot copy the kernel to $1"
	export IMAGE=$1
}

source_name()
{
	if [ -n "$KSRC" ]; then
		printf '%s' "$KSRC"
	else
		printf 'linux-source-6.12 %s' "${WORK#"$O/linux-"}"
	fi
}

# The series file names one patch per line, in order. A line "#+ PATH" stands for
# a file or folder of this repository that is new to the kernel and is copied
# whole; to quilt it is a comment.
series_entries()
{
	sed -e 's/[[:space:]]*$//' -e 's/^#+ */+/' -e '/^#/d' -e '/^$/d' "$TOP/series"
}

series_patches()
{
	series_entries | grep -v '^+'
}

series_overlays()
{
	series_entries | sed -n 's/^+//p'
}

# The files of an overlay, relative to the top: what git would track.
overlay_files()
{
	git -C "$TOP" ls-files --cached --others --exclude-standard -- "$1" | sort -u |
		while IFS= read -r file; do
			[ ! -e "$TOP/$file" ] || printf '%s\n' "$file"
		done
}

# The files that a patch changes, creates or removes.
patch_files()
{
	sed -n -E 's#^(---|\+\+\+) [ab]/([^\t]*).*#\2#p' "$1" | sort -u
}

# apply_patch DIR [OPTION...] <PATCH: context may have moved, but not changed.
apply_patch()
{
	patch -p1 --batch --forward --fuzz=0 --no-backup-if-mismatch -r - -d "$@"
}

# Make both source trees; a step of every run.
prepare()
{
	"$TOP/scripts/source.sh" && "$TOP/scripts/series.sh"
}

# For the scripts that make the source trees, which must not run concurrently: make check
# has two runs simultaneously. Held until the script exits.
lock_source()
{
	exec 7>"$WORK/source.lock"
	flock 7
}

# For the scripts that build kernels and tests, until unlock_kernels: make check has two
# guests simultaneously, but builds must not run concurrently.
lock_kernels()
{
	exec 8>"$WORK/selftests.lock"
	flock 8
}

unlock_kernels()
{
	exec 8>&-
}

# Only one run may build in a build directory: two would overwrite each other's files.
# lock_making is for a run that calls unlock_build after its build: other runs wait for
# that. With lock_build the lock is held until the run ends, and other runs fail.
lock_build()
{
	take_lock all
}

lock_making()
{
	take_lock making
}

# take_lock WHAT: the content of the lock file tells other runs whether to wait or fail.
take_lock()
{
	mkdir -p "$O" || die "$EX_USAGE" "cannot make the build directory O='$O'"
	[ -n "${FUSE_WB_LOCKED:-}" ] && return
	exec 9<>"$O/.lock"
	if ! flock -n 9; then
		[ "$(cat "$O/.lock")" = making ] ||
			die "$EX_MACHINERY" "another run is using $O: wait for it, or choose another directory with O="
		note "another run is making a kernel in $O: waiting until it has, or choose another directory with O="
		flock -w "$LOCK_TIMEOUT" 9 ||
			die "$EX_MACHINERY" "another run is making a kernel in $O for $LOCK_TIMEOUT s: choose another directory with O="
	fi
	printf '%s\n' "$1" >"$O/.lock"
	export FUSE_WB_LOCKED=1
	locked=1
}

# The guests, which run from now on, need no lock.
unlock_build()
{
	[ -n "${locked:-}" ] || return 0
	flock -u 9
	exec 9>&-
}

elapsed()
{
	printf '%d:%02d' $(($1 / 60)) $(($1 % 60))
}

# new_results WHAT [NAME]: make the results folder of a run, RESULTS, with the script
# that repeats the run. If RESULTS_FILE is set, write the name of the folder there.
new_results()
{
	local name

	mkdir -p "$O/results"
	# Another run may have started in the same second.
	until
		RESULTS=$O/results/$(date +%Y%m%d-%H%M%S)-$ARCH-${2:-$KERNEL}
		mkdir "$RESULTS" 2>/dev/null
	do
		[ -e "$RESULTS" ] || die "$EX_USAGE" "cannot make the results folder '$RESULTS'"
		sleep 1
	done
	ln -sfn "$(basename "$RESULTS")" "$O/results/latest"
	[ -z "${RESULTS_FILE:-}" ] || printf '%s\n' "$RESULTS" >"$RESULTS_FILE"
	{
		echo '#!/bin/sh'
		echo "# Repeats this run. It was made at $(git -C "$TOP" describe --always --dirty 2>/dev/null || echo 'an unknown commit')."
		printf 'exec make -C %q %s' "$TOP" "$1"
		for name in ARCH KERNEL KSRC O TESTS REPEAT DEBUG EXTRA_PATCHES LEAVE_OUT MEM CPUS JOBS ICOUNT TIMEOUT \
			FUSE_WB_SEED FUSE_WB_ROUNDS METER ROUNDS SEED SCHEDULES; do
			[ -z "${!name:-}" ] || printf ' %s=%q' "$name" "${!name}"
		done
		echo
	} >"$RESULTS/repro.sh"
	chmod +x "$RESULTS/repro.sh"
}

# Commands run in their own process groups, so that ^C ends all that they
# started. Their scripts do the same for the commands that they start.
children=()

stop_children()
{
	local pid

	for pid in "${children[@]}"; do
		kill -TERM -- "-$pid" 2>/dev/null || :
	done
	wait
}

trap 'trap - INT; stop_children; exit 130' INT
trap 'trap - TERM; stop_children; exit 143' TERM HUP

# start COMMAND...: run a command in its own process group; its pid is in $child.
start()
{
	set -m
	"$@" &
	set +m
	child=$!
	children+=("$child")
}

# forget PID: a started command has ended.
forget()
{
	local pid rest=()

	for pid in "${children[@]}"; do
		[ "$pid" = "$1" ] || rest+=("$pid")
	done
	children=("${rest[@]}")
}

# finish PID: wait for a started command and return its status.
finish()
{
	local status=0

	wait "$1" || status=$?
	forget "$1"
	return "$status"
}

# finish_one PID...: wait for any of them, return its status; its pid is in $child.
finish_one()
{
	local status=0

	wait -n -p child "$@" || status=$?
	forget "$child"
	return "$status"
}

# watch_end PID LOG TITLE: print the progress every half minute until it ends.
watch_end()
{
	local pid=$1 log=$2 title=$3 begin=$SECONDS last=$SECONDS

	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		if [ $((SECONDS - last)) -ge 30 ]; then
			last=$SECONDS
			note "$title ... $(elapsed $((SECONDS - begin))), at: $(tail -n 1 "$log" | cut -c 1-60)"
		fi
	done
}

# step N/M TITLE COMMAND...: run a command with its output in a log, print its
# progress, and the end of the log if it fails.
step()
{
	local which=$1 title=$2 log begin=$SECONDS status=0 pid

	shift 2
	mkdir -p "$O/logs"
	log=$O/logs/$(printf '%s' "$title" | tr -cs '[:alnum:]._' -).log
	note "[$which] $title ..."
	if [ "$V" = 1 ]; then
		start "$@" > >(tee "$log" >&2) 2>&1
	else
		start "$@" >"$log" 2>&1
	fi
	pid=$child
	[ "$V" = 1 ] || watch_end "$pid" "$log" "[$which] $title"
	finish "$pid" || status=$?
	if [ "$status" -ne 0 ]; then
		[ "$V" = 1 ] || tail -n 25 "$log" >&2
		note "[$which] $title: FAILED after $(elapsed $((SECONDS - begin))), the whole log is $log"
		return "$status"
	fi
	note "[$which] $title: done in $(elapsed $((SECONDS - begin)))"
}

# The kernel's make, without our variables, as it would interpret some of them.
kmake()
{
	env -u V -u O -u ARCH -u KERNEL -u DEBUG -u TESTS -u MEM -u CPUS make -j"$(nproc)" "$@"
}

# The tests are built from the patched tree for both kernels, as base has none. They
# are installed to $INSTALLED.
build_tests()
{
	kmake -C "$WORK/patched/src/tools/testing/selftests" O="$WORK/selftests" \
		TARGETS=fuse_wb INSTALL_PATH="$INSTALLED" install || return
	[ -s "$INSTALLED/kselftest-list.txt" ] ||
		die "$EX_MACHINERY" "no fuse_wb program was built: is libfuse3-dev installed?"
}
