#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# kernel.sh [config|suites]: configure and build the kernel of ARCH, KERNEL and DEBUG
# at $WORK/$KERNEL/$ARCH[-$DEBUG], out of tree and incrementally; or only configure it; or
# include the KUnit suites even if patches are left out.

. "$(dirname "$0")/common.sh"

build()
{
	kmake -C "$SRC" O="$OBJ" ARCH="$ARCH" "$@"
}

MODE=${1:-}

# The configuration that kselftests and KUnit suites need: one kernel for both. The suites
# run only if the kernel's command line enables them. Some need all patches to compile.
fragments()
{
	local suites=$TOP/lib/kunit-fuse files

	files=("$TOP/$SELFTEST/config" "$TOP/$SELFTEST/config.$ARCH"
		"$suites/.kunitconfig" "$suites/$ARCH.kunitconfig")
	[ -z "$DEBUG" ] || files+=("$TOP/$SELFTEST/config.$DEBUG")
	cat "${files[@]}" | if [ "$KERNEL" = base ] || [ -n "$LEAVE_OUT" ] && [ "$MODE" != suites ]; then
		grep -v '^CONFIG_FUSE_WB_KUNIT_TEST='
	else
		cat
	fi
	echo CONFIG_KUNIT_DEFAULT_ENABLED=n
}

configure()
{
	local requested=$OBJ/config.requested

	mkdir -p "$OBJ"
	fragments >"$requested.new"
	if [ ! -e "$OBJ/.config" ] || ! cmp -s "$requested.new" "$requested"; then
		rm -f "$requested"
		build tinyconfig
		"$SRC/scripts/kconfig/merge_config.sh" -Q -m -O "$OBJ" "$OBJ/.config" "$requested.new"
		mv "$requested.new" "$requested"
	fi
	build olddefconfig
}

# merge_config.sh reports what it could not set, but olddefconfig runs after it: check
# the final .config.
verify_config()
{
	local line symbol wrong=0

	while read -r line; do
		case $line in
		CONFIG_*=n)
			symbol=${line%=n}
			grep -q "^$symbol=" "$OBJ/.config" || continue
			;;
		CONFIG_*=*)
			symbol=${line%%=*}
			grep -qxF "$line" "$OBJ/.config" && continue
			;;
		'# CONFIG_'*' is not set')
			symbol=${line#\# }
			symbol=${symbol%% *}
			grep -q "^$symbol=" "$OBJ/.config" || continue
			;;
		*)
			continue
			;;
		esac
		note "requested: $line, but $OBJ/.config says: $(grep -wF "$symbol" "$OBJ/.config" || echo nothing)"
		wrong=1
	done <"$OBJ/config.requested"
	[ "$wrong" = 0 ] || die "$EX_MACHINERY" "the configuration of $ARCH lacks what the tests need: look for the symbol's dependencies in $SRC"
}

check_variables
find_work
SRC=$WORK/$(kernel_tree)/src
OBJ=$(kernel_dir)
configure
verify_config
[ "$MODE" != config ] || exit 0
case $ARCH in
um) build CC="$TOP/scripts/gcc.sh" all ;;
x86_64) build CC="$TOP/scripts/gcc.sh" vmlinux ;;
esac
