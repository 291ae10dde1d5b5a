# Runs a command until it ends, or until standard input reaches its end: that is, until the process that holds the other end of
# that pipe has closed it or has died, in whatever way. Then the command is told to end.
#
#   sh -c <this> supervise <stop signal> <remove> <remove> <command> <argument>...
#
# The two paths (empty: none) are removed after the command has ended, if it ended because its parent did. When the command ended
# by itself, they stay: the parent may want to read them, or to run the command again.

stop_signal=$1
remove_a=$2
remove_b=$3
shift 3

exec 3<&0 </dev/null
"$@" 3<&- &
command=$!

parent_ended=
trap 'parent_ended=yes' USR1
trap 'parent_ended=yes; kill -s "$stop_signal" "$command" 2>/dev/null' HUP INT TERM

# The signal is repeated, because a shell starts a background command with interrupts ignored, and the first may come before the
# command has set up its own handlers. It comes from here, and not from the trap, so that it also comes when this shell was killed.
# Not for ever: nobody may collect the status of a command that has lost its shell.
{
    while read -r _; do :; done
    tries=0
    while kill -s USR1 $$; kill -s "$stop_signal" "$command" && [ "$tries" -lt 60 ]; do
        tries=$((tries + 1))
        sleep 1
    done
} <&3 3<&- >/dev/null 2>&1 &
watcher=$!
exec 3<&-

# A trapped signal interrupts `wait` while the command still runs. 127: there is nothing left to wait for.
while :; do
    wait "$command"
    status=$?
    if [ "$status" -eq 127 ] || ! kill -0 "$command" 2>/dev/null; then break; fi
done
kill "$watcher" 2>/dev/null

if [ -n "$parent_ended" ]; then
    for path in "$remove_a" "$remove_b"; do
        if [ -n "$path" ]; then rm -rf -- "$path"; fi
    done
fi
exit "$status"
