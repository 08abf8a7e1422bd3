#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# regress.sh: is the patched kernel worse than base? The program observe prints what a
# user can observe, on the base kernel and on the patched one, and every difference has
# to be listed in the file "differences" with the promise that requires it.
#
# The observations on base depend only on the program and the kernel: they are kept, so
# that another run with other patches needs no guest for them.

. "$(dirname "$0")/common.sh"

STEPS=7

# Run steps for one kernel: only the patched one takes patches.
on_base()
{
	env KERNEL=base EXTRA_PATCHES='' LEAVE_OUT='' "$@"
}

on_patched()
{
	env KERNEL=patched "$@"
}

# The observations that TESTS selects by one or more globs.
choose()
{
	local status=0

	set -f
	# shellcheck disable=SC2086
	"$OBSERVE" -l $TESTS >"$RESULTS/wanted" || status=$?
	set +f
	[ "$status" = 0 ] ||
		usage_error "TESTS='$TESTS' matches no observation: '$OBSERVE -l' shows their names"
}

# The script for the guest.
run_script()
{
	local words=()

	set -f
	# shellcheck disable=SC2206
	words=($TESTS)
	set +f
	echo "for run in \$(seq $REPEAT); do"
	echo "	echo \"# run \$run\""
	echo "	/regress/observe$([ "${#words[@]}" = 0 ] || printf ' %q' "${words[@]}") || exit"
	echo 'done'
}

make_initrd()
{
	mkdir -p "$RESULTS/root/regress" &&
	cp "$OBSERVE" "$RESULTS/root/regress/" &&
	run_script >"$RESULTS/run.sh" &&
	on_patched "$TOP/scripts/rootfs.sh" "$RESULTS/initrd" "$RESULTS/run.sh" "$RESULTS/root"
}

# The key of the kept observations on base: a hash of all that they depend on.
base_key()
{
	{
		KERNEL=base kernel_image | xargs cat
		cat "$OBSERVE" "$RESULTS/run.sh" "$TOP/scripts/init.c"
		printf '%s %s %s' "$MEM" "$CPUS" "$ICOUNT"
	} | sha256sum | cut -c 1-24
}

# Run a guest; with V=1, show its output as it arrives.
run_guest()
{
	local kernel=$1 dir=$RESULTS/guest-$1 begin=$SECONDS status=0 pair

	mkdir -p "$dir"
	touch "$dir/out.txt"
	start "on_$kernel" "$TOP/scripts/guest.sh" "$dir" "$RESULTS/initrd"
	[ "$V" = 0 ] || tail -n +1 -F --pid="$child" "$dir/out.txt" >&2 2>/dev/null &
	finish "$child" || status=$?
	wait
	for pair in out:"$kernel.txt" console:"$kernel-dmesg.txt" err:"$kernel-err.txt"; do
		awk 1 "$dir/${pair%%:*}.txt" >"$RESULTS/${pair#*:}"
	done
	note "the guest took $(elapsed $((SECONDS - begin)))"
	[ "$status" -le "$guest_status" ] || guest_status=$status
}

# Use the kept observations on base if they are still valid, else run a guest.
run_base()
{
	local kept

	kept=$O/regress/$(base_key)
	if [ -e "$kept/base.txt" ]; then
		note "[5/$STEPS] base: as it was before, in $kept"
		cp "$kept"/* "$RESULTS/"
		return
	fi
	note "[5/$STEPS] base: $(wc -l <"$RESULTS/wanted") observations in the guest ..."
	run_guest base
	# Do not keep the results of a failed guest or a broken program
	if [ "$guest_status" != 0 ] || grep -q '\.broken: ' "$RESULTS/base.txt"; then
		return
	fi
	mkdir -p "$kept.new"
	cp "$RESULTS"/base*.txt "$kept.new/"
	rm -rf "$kept"
	mv "$kept.new" "$kept"
}

judge()
{
	local name settings=() skip=()

	for name in ARCH DEBUG EXTRA_PATCHES LEAVE_OUT MEM CPUS ICOUNT TESTS REPEAT; do
		settings+=(--setting "$name=${!name}")
	done
	settings+=(--setting "SOURCE=$(source_name)")
	# UML lacks features that some observations need.
	[ "$ARCH" = x86_64 ] || skip=(--may-skip)
	"$TOP/scripts/regress.py" "$RESULTS" --differences "$TOP/$SELFTEST/differences" \
		--promises "$TOP/$SELFTEST/promises" --splats "$TOP/scripts/splats" \
		--guest-status "$guest_status" --wanted "$RESULTS/wanted" \
		--tests "$TESTS" "${skip[@]}" "${settings[@]}"
}

[ "$KERNEL" = patched ] || usage_error "make regress runs both kernels: drop KERNEL=$KERNEL"
check_variables
lock_build
"$TOP/scripts/deps.sh" source kernel guest tests judge
find_work
INSTALLED=$WORK/selftests/install
OBSERVE=$INSTALLED/fuse_wb/observe
new_results regress regress

lock_kernels
export BOTH=1
step "1/$STEPS" "source and series" prepare || exit
step "2/$STEPS" "$ARCH kernel, base${DEBUG:+, $DEBUG}" on_base "$TOP/scripts/kernel.sh" || exit "$EX_MACHINERY"
step "3/$STEPS" "$ARCH kernel, patched${DEBUG:+, $DEBUG}" on_patched "$TOP/scripts/kernel.sh" || exit "$EX_MACHINERY"
step "4/$STEPS" "observations" build_tests || exit "$EX_MACHINERY"
choose
make_initrd
unlock_kernels
guest_status=0
run_base
note "[6/$STEPS] patched: $(wc -l <"$RESULTS/wanted") observations in the guest ..."
run_guest patched
note "[7/$STEPS] comparison"
status=0
judge || status=$?
rm -rf "$RESULTS"/{root,guest-base,guest-patched,initrd,initrd.list,run.sh,wanted}
find "$RESULTS" -empty -name '*.txt' -delete
note "results: $RESULTS"
exit "$status"
