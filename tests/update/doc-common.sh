# SPDX-License-Identifier: MIT
# Sourced by the doc-cpr-* scripts that drive a human monitor on standard input.
# Processes in $vm are ended with the script; what the monitor says is in vm.out.

vm=
finish() {
	status=$?
	trap - EXIT
	if [ -n "$vm" ]; then
		kill -9 "$vm" 2>/dev/null || true
		wait "$vm" 2>/dev/null || true
	fi
	exit "$status"
}
trap finish EXIT
trap 'exit 1' INT TERM HUP

# await PATTERN [COUNT] - waits until COUNT lines of the monitor's output match.
await() {
	tries=0
	while [ "$(tr -d '\r' <vm.out | grep -c -e "$1" || true)" -lt "${2:-1}" ]
	do
		tries=$((tries + 1))
		if [ $tries -gt 400 ]; then
			echo "no $1 in the monitor's output:" >&2
			cat vm.out vm.err >&2
			exit 1
		fi
		sleep 0.05
	done
}

# start_vm OPTIONS... - a baton with a monitor on $vm.in, in $vm; type with `say`.
start_vm() {
	rm -f vm.in
	mkfifo vm.in
	: >vm.out
	baton -monitor stdio "$@" <vm.in >vm.out 2>vm.err &
	vm=$!
	exec 3>vm.in
	await "type 'help' for more information"
}

say() {
	echo "$*" >&3
}

# quit_vm - ends it, and demands that it ends well.
quit_vm() {
	say quit
	wait "$vm"
	vm=
	exec 3>&-
	cat vm.out
}
