#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# exec.sh COMMAND	copy the command's program, a static program of the user, into
#			the guest, run the command there as root, and pass its
#			output and exit status through
# exec.sh		a shell in the guest

. "$(dirname "$0")/common.sh"

prepare_guest()
{
	"$TOP/scripts/source.sh" &&
	"$TOP/scripts/series.sh" &&
	"$TOP/scripts/kernel.sh"
}

# The program of the command, which must be statically linked.
find_program()
{
	local program=${1%% *} path

	[ -n "$program" ] || usage_error "CMD is empty: say make exec CMD='PROG ARGS'"
	path=$(command -v -- "$program") || usage_error "CMD: there is no program '$program'"
	path=$(realpath -s -- "$path")
	[ -f "$path" ] || usage_error "CMD: '$path' is not a file"
	if readelf -l "$path" 2>/dev/null | grep -q INTERP; then
		usage_error "CMD: '$path' is linked dynamically and the guest has no libraries: link it with -static"
	fi
	printf '%s' "$path"
}

pass_output()
{
	tail -c +1 -f --pid="$1" "$DIR/out.txt" 2>/dev/null &
	tail -c +1 -f --pid="$1" "$DIR/err.txt" >&2 2>/dev/null &
}

check_variables
lock_making
"$TOP/scripts/deps.sh" source kernel guest
find_work
mkdir -p "$O/exec"
DIR=$(mktemp -d "$O/exec/XXXXXX")
trap 'rm -rf "$DIR"' EXIT
mkdir "$DIR/root"
if [ $# -gt 0 ]; then
	program=$(find_program "$1")
	# A separate folder, which no mount of the guest hides.
	mkdir "$DIR/root/exec"
	cp "$program" "$DIR/root/exec/"
	chmod 755 "$DIR/root/exec/"*
	# The guest's shell splits and expands the rest, as the user's shell would.
	arguments=${1#"${1%% *}"}
	printf 'exec /exec/%q%s\n' "$(basename "$program")" "$arguments" >"$DIR/run.sh"
else
	printf 'echo "Leave with exit or ^D."; exec setsid -c sh -l\n' >"$DIR/run.sh"
fi
step 1/1 "$ARCH kernel, $KERNEL${DEBUG:+, $DEBUG}" prepare_guest >&2 || exit
"$TOP/scripts/rootfs.sh" "$DIR/initrd" "$DIR/run.sh" "$DIR/root"
keep_kernel "$DIR/kernel"
unlock_build
status=0
if [ $# = 0 ]; then
	"$TOP/scripts/guest.sh" "$DIR" "$DIR/initrd" shell || status=$?
	exit "$status"
fi

touch "$DIR"/{out,err}.txt
start "$TOP/scripts/guest.sh" "$DIR" "$DIR/initrd"
pass_output "$child"
finish "$child" || status=$?
wait
exit "$status"
