# SPDX-License-Identifier: MIT
# The tables of commands and options, what the parser accepts, --help, the man page and shell
# completion all agree, in both directions; every command has its file and the other way round.
. "$TEST_ENV"
. "$top_srcdir/tests/cli/golden.sh"
require jq --version

ublk-img help --json >tables
jq -r '.commands[].name' tables >commands
[ "$(wc -l <commands)" -ge 8 ] || fail "few commands"
# A family of commands, whose names have two words, may have files of its own choice.
cut -d ' ' -f 1 commands | sort -u >first
diff first <(cd "$top_srcdir/cli" && printf '%s\n' cmd_*.c | sed 's/cmd_\([a-z]*\).*/\1/' | sort -u)

# options_of COMMAND: "name argument optional" of its own options; of "" those of every command.
options_of() {
	if [ -n "$1" ]; then
		jq -r --arg c "$1" '.commands[] | select(.name == $c) | .options[]' tables
	else
		jq -r '.options[]' tables
	fi | jq -r '"\(.name) \(.argument | if . == "" then "-" else . end) \(.argument_optional)"'
}
# forms COMMAND: how its options are written in help.
forms() {
	local name argument optional
	options_of "$1" | while read -r name argument optional; do
		case $argument:$optional in
		-:*) echo "--$name" ;;
		*:true) echo "--${name}[=$argument]" ;;
		*) echo "--$name=$argument" ;;
		esac
	done | sort
}
# in_help: the options that a help text on standard input describes.
in_help() {
	sed -nE 's/^ {2,6}(-[a-zA-Z], )?(--[a-z-]+[^ ]*).*/\2/p' | sort
}

forms '' >want
ublk-img --help | in_help >got
diff want got
diff commands <(ublk-img --help | sed -nE 's/^  ([a-z]+( [a-z]+)?) .*/\1/p')

# The man page has a section per command, and in it an item per option.
ublk-img help --pod >pod
podchecker pod 2>podchecker.out || grep -q 'command not found' podchecker.out ||
	fail "$(cat podchecker.out)"
diff commands <(sed -n 's/^=head2 //p' pod)
pod_options() {
	awk -v c="$1" '/^=head/ { on = ($0 == c) } on && /^=item/' pod |
		sed -E -e 's/^=item (B<-.>, )?//' -e 's/[BI]<([^>]*)>/\1/g' | sort
}
forms '' >want
pod_options '=head1 OPTIONS OF EVERY COMMAND' >got
diff want got

# shellcheck disable=SC2086,SC2206 # a command may be two words
while read -r command; do
	forms "$command" >want
	ublk-img help $command >text
	in_help <text >got
	diff want got || fail "$command --help"
	ublk-img $command --help | cmp - text
	pod_options "=head2 $command" >got
	diff want got || fail "the man page's $command"

	jq -r --arg c "$command" '.commands[] | select(.name == $c) |
		"Usage: ublk-img \($c)\(if .options == [] then "" else " [OPTION]..." end)\(if .operands == "" then "" else " " end)\(.operands)"' tables | cmp - <(head -n 1 text)

	# Each option of the table is one that the parser knows, with just that kind of argument.
	while read -r name argument optional; do
		if [ "$argument" = - ]; then
			ublk-img $command "--$name" --help | cmp - text
			try=($command "--$name=x")
			message="option --$name takes no argument"
		elif [ "$optional" = true ]; then
			ublk-img $command "--$name" --help | cmp - text
			try=($command "--$name=\\")
			message="--$name: "
		else
			try=($command "--$name")
			message="option --$name needs an argument: $argument"
		fi
		ublk-img "${try[@]}" 2>err && fail "accepted: ${try[*]}"
		grep -qF -- "$message" err || fail "${try[*]}: $(cat err)"
	done < <(options_of "$command"; options_of '' | grep -v -e '^version ' -e '^debug ')
done <commands

# Completion, as bash would ask for it.
ublk-img help --bash-completion >completion
# shellcheck disable=SC1091
. ./completion
complete -p ublk-img >/dev/null || fail "nothing completes ublk-img"
# completes WORD...: what the last word may become.
completes() {
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	_ublk_img
	[ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}" | sort
}
diff first <(completes ublk-img '')
diff first <(completes ublk-img help '')
diff <(sed -n 's/^snapshot //p' commands | sort) <(completes ublk-img snapshot '')
[ "$(completes ublk-img cre)" = create ] || fail "cre is not completed"
[ "$(completes ublk-img --quiet cre)" = create ] || fail "cre after an option is not completed"
# shellcheck disable=SC2086 # a command may be two words
while read -r command; do
	{ options_of "$command"; options_of ''; } | while read -r name argument optional; do
		[ "$argument" = - ] || echo "--$name="
		if [ "$argument" = - ] || [ "$optional" = true ]; then echo "--$name"; fi
	done | sort >want
	completes ublk-img $command -- >got
	diff want got || fail "completion of $command"
	# Arguments, in the three ways that bash splits them.
	jq -r --arg c "$command" '.commands[] | select(.name == $c) | .options[] |
		select(.words) | "\(.name) \(.words | join(" "))"' tables >arguments
	while read -r name words; do
		tr ' ' '\n' <<<"$words" | sort >want
		diff want <(completes ublk-img $command "--$name" =)
		diff want <(completes ublk-img $command "--$name" = '')
		first=${words%% *}
		diff <(echo "$first") <(completes ublk-img $command "--$name" = "${first:0:2}" |
			grep -xF -- "$first")
	done <arguments
done <commands
[ -z "$(completes ublk-img info x)" ] || fail "operands are left to file names"

# The wording itself.
# shellcheck disable=SC2086 # a command may be two words
while read -r command; do
	run ublk-img help $command
done <commands
run ublk-img help snapshot
diff <(ublk-img help snapshot) <(ublk-img snapshot --help)
run ublk-img --help
golden help
