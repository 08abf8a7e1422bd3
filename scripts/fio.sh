#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# fio.sh: let fio write to one file of a FUSE server, opened in each possible way, with
# direct, buffered and mapped I/O at the same time, and verify what it reads back.
#
# The guest gets fio and its libraries from this machine, and the server of the tests.

. "$(dirname "$0")/common.sh"

STEPS=4

# CONNECTION.OPEN.ENGINE, and the options of serve, one per line. A failure on tmpfs is
# a fault of fio.
list_runs()
{
	local connection name mapping options engine

	printf 'control.tmpfs.%s mapped\n' libaio io_uring
	for connection in cached through; do
		while read -r name mapping options; do
			for engine in libaio io_uring; do
				printf '%s.%s.%s %s%s threads=4 async_dio max_write=32768 %s\n' \
					"$connection" "$name" "$engine" "$mapping" \
					"$([ "$connection" = through ] || echo ' writeback_cache')" "$options"
			done
		done < <(sed '/^#/d' "$TOP/scripts/fio/opens")
	done
}

choose_runs()
{
	local pattern name rest

	set -f
	while read -r name rest; do
		for pattern in ${TESTS:-*}; do
			# shellcheck disable=SC2254
			case $name in
			$pattern)
				printf '%s %s\n' "$name" "$rest"
				break
				;;
			esac
		done
	done < <(list_runs) >"$RESULTS/wanted"
	set +f
	[ -s "$RESULTS/wanted" ] ||
		usage_error "TESTS='$TESTS' matches no run of fio: they are called CONNECTION.OPEN.ENGINE, as in scripts/fio/opens"
}

# Copy the program and the libraries that it is linked with.
copy_program()
{
	local program=$1 root=$2 file

	{
		printf '%s\n' "$program"
		ldd "$program" | grep -o '/[^ ]*'
	} | while read -r file; do
		mkdir -p "$root$(dirname "$file")"
		cp -L "$file" "$root$file"
	done
}

run_script()
{
	local name mapping options job run

	echo 'cd /fio || exit'
	while read -r name mapping options; do
		job=${name##*.}-$mapping.fio
		case $name in
		control.*)
			run="cd /tmp && /fio/run"
			;;
		*)
			run="./serve $options /fio/run"
			;;
		esac
		echo "if ($run /fio/$job) >/tmp/err 2>&1; then"
		echo "	echo 'ok $name'"
		echo 'else'
		echo "	echo 'not ok $name'"
		echo '	tail -n 20 /tmp/err /tmp/out 2>/dev/null | sed "s/^/# /"'
		echo 'fi'
	done <"$RESULTS/wanted"
}

make_initrd()
{
	local root=$RESULTS/root engine

	mkdir -p "$root/fio" &&
	copy_program "$(command -v fio)" "$root" &&
	cp "$INSTALLED/fuse_wb/serve" "$root/fio/" || return
	# With filesize= in the job, fio would give each job the rest of the file.
	cat >"$root/fio/run" <<-'RUN'
		#!/bin/sh
		truncate -s 24M file && exec fio --output=/tmp/out "$1"
	RUN
	chmod +x "$root/fio/run"
	for engine in libaio io_uring; do
		sed "s/@ENGINE@/$engine/" "$TOP/scripts/fio/verify.fio" >"$root/fio/$engine-mapped.fio"
		sed '/^\[mmap\]/,$d' "$root/fio/$engine-mapped.fio" >"$root/fio/$engine-unmapped.fio"
	done
	for _ in $(seq "$REPEAT"); do
		run_script
	done >"$RESULTS/run.sh"
	"$TOP/scripts/rootfs.sh" "$RESULTS/initrd" "$RESULTS/run.sh" "$root"
}

# Patterns that healthy kernels never print, without the file's comments.
splats()
{
	grep -P "$(grep -v -e '^#' -e '^$' "$TOP/scripts/splats" | paste -s -d '|')" "$RESULTS/console.txt"
}

judge()
{
	local passed failed wanted

	passed=$(grep -c '^ok ' "$RESULTS/out.txt" || :)
	failed=$(grep -c '^not ok ' "$RESULTS/out.txt" || :)
	wanted=$(($(wc -l <"$RESULTS/wanted") * REPEAT))
	printf '%s passed, %s failed, 0 skipped\n' "$passed" "$failed"
	if splats >&2; then
		note "the kernel's log has what a healthy kernel never prints: see $RESULTS/console.txt"
		return "$EX_PANIC"
	fi
	[ "$guest_status" = 0 ] || return "$guest_status"
	[ "$failed" = 0 ] || return "$EX_FAIL"
	if [ "$passed" != "$wanted" ]; then
		note "$wanted runs of fio were wanted, and $passed said how they ended: see $RESULTS/out.txt"
		return "$EX_USAGE"
	fi
}

check_variables
lock_build
"$TOP/scripts/deps.sh" source kernel guest tests fio
find_work
INSTALLED=$WORK/selftests/install
new_results fio fio
choose_runs
step "1/$STEPS" "source and series" prepare || exit
step "2/$STEPS" "$ARCH kernel, $KERNEL${DEBUG:+, $DEBUG}" "$TOP/scripts/kernel.sh" || exit "$EX_MACHINERY"
step "3/$STEPS" "the server of the tests" build_tests || exit "$EX_MACHINERY"
make_initrd
note "[4/$STEPS] $(wc -l <"$RESULTS/wanted") runs of fio in the guest ..."
touch "$RESULTS/out.txt"
guest_status=0
start "$TOP/scripts/guest.sh" "$RESULTS" "$RESULTS/initrd"
tail -n +1 -f --pid="$child" "$RESULTS/out.txt" 2>/dev/null | sed -u 's/^/  /' >&2 &
finish "$child" || guest_status=$?
wait
status=0
judge || status=$?
rm -rf "$RESULTS"/{root,initrd,initrd.list,run.sh,wanted}
find "$RESULTS" -empty -name '*.txt' -delete
note "results: $RESULTS"
exit "$status"
