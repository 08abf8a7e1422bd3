#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# deps.sh WHAT...: make sure that the programs for WHAT are installed. As root,
# install the missing Debian packages; otherwise print the command that does, and
# exit with 69. WHAT is source, kernel, guest, tests, judge, fio, bench or check.

. "$(dirname "$0")/common.sh"

missing=()

need()
{
	local package=$1

	shift
	"$@" >/dev/null 2>&1 || missing+=("$package")
}

has()
{
	command -v "$1"
}

is_static()
{
	[ -x "$1" ] && ! readelf -l "$1" | grep INTERP
}

need_source()
{
	[ -n "$KSRC" ] || need linux-source-6.12 test -r "$TARBALL"
	need xz-utils has xz
	need patch has patch
	need git has git
	need rsync has rsync
}

need_kernel()
{
	need gcc has gcc
	need libc6-dev test -r /usr/include/stdio.h
	need flex has flex
	need bison has bison
	need bc has bc
	need perl has perl
	need python3 has python3
	need libelf-dev test -r /usr/include/libelf.h
	need ccache has ccache
}

need_guest()
{
	need busybox-static is_static /bin/busybox
	[ "$ARCH" = um ] || need qemu-system-x86 has qemu-system-x86_64
}

need_tests()
{
	need pkg-config has pkg-config
	need libfuse3-dev pkg-config --exists fuse3
}

need_judge()
{
	need libtap-formatter-junit-perl has tap2junit
}

need_fio()
{
	need fio has fio
}

need_bench()
{
	need gnuplot-nox has gnuplot
}

need_check()
{
	need shellcheck has shellcheck
	need sparse has sparse
	need codespell has codespell
	need python3-sphinx has sphinx-build
	need perl has prove
}

look_for()
{
	declare -F "need_$1" >/dev/null || usage_error "deps.sh: '$1' is not known"
	"need_$1"
}

apt_install()
{
	export DEBIAN_FRONTEND=noninteractive
	apt-get install -y --no-install-recommends "$@" && return
	# The package lists may be outdated or missing.
	apt-get update && apt-get install -y --no-install-recommends "$@"
}

ARCH=${ARCH:-x86_64}
for what; do
	look_for "$what"
done
[ ${#missing[@]} -gt 0 ] || exit 0

command="apt-get install --no-install-recommends ${missing[*]}"
if [ "$(id -u)" != 0 ] || ! has apt-get >/dev/null; then
	die "$EX_MACHINERY" "packages are missing; as root run: $command"
fi
note "installing ${missing[*]}"
mkdir -p "$O/logs"
if ! apt_install "${missing[@]}" >"$O/logs/apt.log" 2>&1; then
	tail -n 5 "$O/logs/apt.log" >&2
	die "$EX_MACHINERY" "could not install packages; run: $command"
fi
missing=()
for what; do
	look_for "$what"
done
[ ${#missing[@]} -eq 0 ] || die "$EX_MACHINERY" "still missing after installation: ${missing[*]}"
