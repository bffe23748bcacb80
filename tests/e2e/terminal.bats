# users: user; with PADDOCK_E2E_ALL: root
# The terminal: size, keys, full-screen programs, detach and attach, and what it is like afterwards.
# shellcheck disable=SC2154,SC2016

load lib

setup_file() {
	e2e_begin terminal
	mkdir "$E2E/ws/app"
	seq 1 200 > "$E2E/ws/app/numbers"
	make_box term "$E2E/ws/app"
}

teardown_file() {
	e2e_end
}

# A test that failed leaves its sessions to nobody.
teardown() {
	tm kill-server 2>/dev/null || :
	pd exec -q -u root term pkill -KILL -x 'bash|less|vi|cat|sleep|python3' || :
}

# A prompt that no output contains, in a shell without start-up files.
enter() {
	term_open "$1"
	term_type "$1" "stty -a | tail -n +2 > tty.before; paddock exec -it -e HISTFILE= -e PS1='box> ' term bash --norc --noprofile"
	line_shows "$1" 'box>'
}

leave() {
	term_type "$1" "exit"
	line_shows "$1" 'host\$'
	same_terminal "$1"
	term_close "$1"
}

# The terminal is as it was before paddock had it.
same_terminal() {
	term_type "$1" "stty -a | tail -n +2 > tty.after; echo com''pared"
	line_shows "$1" compared
	equal "$(cat "$E2E/tty.after")" "$(cat "$E2E/tty.before")"
	rm "$E2E/tty.after"
}

@test "run gives a shell in the project, with its terminal's size and colours; exit's status passes" {
	term_open run
	term_type run "stty -a | tail -n +2 > tty.before; paddock run --name term"
	screen_shows run '$ '
	wait_until 30 screen_has run 'agent@term'
	term_type run 'clear; tty; stty size; echo $TERM; pwd'
	line_shows run '/dev/pts/[0-9]+'
	line_shows run '30 100'
	line_shows run '(tmux|screen)-256color'
	line_shows run "$E2E/ws/app"
	term_type run "exit 7"
	line_shows run 'host\$'
	term_type run 'echo status=$?'
	line_shows run 'status=7'
	same_terminal run
	term_close run
}

@test "a new size of the window arrives at once" {
	enter size
	term_type size 'trap "stty size" WINCH; stty size'
	line_shows size '30 100'
	tm resize-window -t size -x 72 -y 21
	line_shows size '(box> )?21 72'
	tm resize-window -t size -x 133 -y 40
	line_shows size '(box> )?40 133'
	# Also for a program in the foreground.
	term_type size 'trap "" WINCH; python3 -c "
import signal, shutil, sys
signal.signal(signal.SIGWINCH, lambda *a: print(\"now\", *shutil.get_terminal_size(), flush=True))
print(\"rea\" + \"dy\", flush=True)
while sys.stdin.readline().strip() != \"end\": pass"'
	line_shows size ready
	tm resize-window -t size -x 90 -y 25
	line_shows size 'now 90 25'
	term_type size end
	line_shows size 'box>'
	leave size
}

@test "Ctrl-C, Ctrl-Z, Ctrl-D and Ctrl-\\ are the program's" {
	enter keys
	term_type keys 'sleep 1000'
	wait_until 20 in_box term 'pgrep -x sleep'
	term_key keys C-c
	term_type keys 'echo "status $?"'
	line_shows keys 'status 130'
	term_type keys 'clear; sleep 1000'
	wait_until 20 in_box term 'pgrep -x sleep'
	term_key keys C-z
	screen_shows keys 'Stopped'
	term_type keys 'clear; kill %1; wait; echo go''ne'
	line_shows keys 'gone'
	term_type keys 'clear; cat; echo "cat $?"'
	wait_until 20 in_box term 'pgrep -x cat'
	term_type keys 'typed'
	twice() { [ "$(screen keys | grep -cx 'typed *')" = 2 ]; }
	wait_until 30 twice
	term_key keys C-d
	line_shows keys 'cat 0'
	term_type keys 'clear; sleep 1000; echo "quit $?"'
	wait_until 20 in_box term 'pgrep -x sleep'
	term_key keys C-\\
	line_shows keys 'quit 131'
	# Ctrl-P alone, and before anything but Ctrl-Q, goes through: it is bash's history.
	term_type keys 'clear; echo hist''ory'
	line_shows keys history
	term_key keys C-p C-a C-k
	term_type keys 'clear; echo af''ter'
	line_shows keys after
	leave keys
}

@test "less, full screen: pages, searches, and gives the old screen back" {
	enter less
	term_type less 'echo ma''rker; LESS= less numbers'
	line_shows less 1
	line_shows less 29
	[ "$(screen less | head -n 29)" = "$(seq 1 29)" ]
	has "$(screen less | tail -n 1)" numbers
	term_key less Space
	line_shows less 58
	equal "$(screen less | head -n 29)" "$(seq 30 58)"
	term_type less '/150'
	line_shows less 178
	equal "$(screen less | head -n 1)" 150
	term_key less G
	screen_shows less '(END)'
	term_key less q
	line_shows less marker
	line_shows less 'box>'
	lacks "$(screen less)" '(END)'
	leave less
}

@test "vi, full screen: edits a file of the workspace" {
	enter vi
	term_type vi 'echo ma''rker; vi -u NONE numbers'
	line_shows vi 29
	equal "$(screen vi | head -n 29)" "$(seq 1 29)"
	# The arrow keys are escape sequences, which no one may tear apart.
	term_key vi Down Down O
	tm send-keys -t vi -l 'written in vi, ä'
	term_key vi Escape
	line_shows vi 'written in vi, ä'
	equal "$(screen vi | head -n 4)" $'1\n2\nwritten in vi, ä\n3'
	term_type vi ':wq'
	line_shows vi marker
	equal "$(sed -n 3p "$E2E/ws/app/numbers")" 'written in vi, ä'
	seq 1 200 > "$E2E/ws/app/numbers"
	leave vi
}

@test "detach with Ctrl-P Ctrl-Q, attach: the session went on, and redraws" {
	enter detach
	term_type detach 'clear; (for i in 1 2 3; do while [ ! -e go$i ]; do sleep 0.1; done; echo tick $i; done; echo don''e) &'
	touch "$E2E/ws/app/go1"
	line_shows detach '(box> )?tick 1'
	term_key detach C-p C-q
	screen_shows detach 'detached: take it up again with: paddock attach term'
	line_shows detach 'host\$'
	same_terminal detach
	equal "$(inspect_get term '.sessions[] | select(.tty) | "\(.attached) \(.command)"')" \
		"false bash --norc --noprofile"
	touch "$E2E/ws/app/go2"
	term_type detach 'clear; paddock attach term'
	line_shows detach '(box> )?tick 2'
	touch "$E2E/ws/app/go3"
	line_shows detach '(box> )?tick 3'
	equal "$(inspect_get term '.sessions[] | select(.tty) | .attached')" true
	term_type detach 'clear; echo same se''ssion $i'
	line_shows detach 'same session *'
	rm "$E2E"/ws/app/go?
	leave detach
}

@test "a full-screen program is redrawn for who attaches, in the new window's size" {
	enter redraw
	term_type redraw 'LESS= less numbers'
	line_shows redraw 29
	term_key redraw C-p C-q
	line_shows redraw 'host\$'
	tm resize-window -t redraw -x 100 -y 20
	term_type redraw 'clear; paddock attach term'
	line_shows redraw 19
	equal "$(screen redraw | head -n 19)" "$(seq 1 19)"
	term_key redraw q
	line_shows redraw 'box>'
	# In the same window, and by a program that draws for another width alone.
	cat > "$E2E/ws/app/width.py" <<-'PY'
		import shutil, signal
		drawn = 0
		def draw(*_):
		    global drawn
		    columns = shutil.get_terminal_size().columns
		    if columns != drawn:
		        drawn = columns
		        print("width", columns, flush=True)
		signal.signal(signal.SIGWINCH, draw)
		draw()
		while True:
		    signal.pause()
	PY
	term_type redraw 'clear; python3 width.py'
	line_shows redraw 'width 100'
	term_key redraw C-p C-q
	line_shows redraw 'host\$'
	term_type redraw 'clear; paddock attach term'
	line_shows redraw 'width 100'
	term_key redraw C-c
	line_shows redraw 'box>'
	leave redraw
}

@test "--detach-keys; a second client takes the session over" {
	term_open one
	term_type one "stty -a | tail -n +2 > tty.before; paddock exec -it --detach-keys ctrl-x,d -e HISTFILE= -e PS1='box> ' term bash --norc --noprofile"
	line_shows one 'box>'
	term_key one C-p C-q # to bash: nothing to recall, the next key as it is
	term_type one 'echo still he''re'
	line_shows one 'still here'
	term_open two
	term_type two 'paddock attach term'
	# The older client is told, and its terminal is its own again.
	line_shows one 'host\$'
	same_terminal one
	term_type two 'clear; echo in t''wo'
	line_shows two 'in two'
	term_key two C-p C-q
	line_shows two 'host\$'
	term_close two
	term_type one 'clear; paddock attach --detach-keys ctrl-x,d term'
	term_type one 'clear; echo ba''ck'
	line_shows one back
	term_key one C-x d
	screen_shows one 'detached'
	term_type one 'clear; paddock attach term'
	term_type one 'clear'
	line_shows one 'box>'
	leave one
}

@test "attach says when there is nothing to attach to" {
	term_open none
	term_type none 'paddock attach term; echo status=$?'
	line_shows none 'status=125'
	screen_has none 'no session is running'
	term_type none 'clear; paddock attach term 4711; echo status=$?'
	line_shows none 'status=125'
	term_close none
}

@test "the command is killed: the session survives and can be attached" {
	local child
	enter killed
	term_type killed 'clear; VALUE=kept; echo r''eady'
	line_shows killed ready
	child=$(pgrep -f "^paddock exec -it -e HISTFILE= -e PS1=box>  term")
	kill -KILL "$child"
	screen_shows killed 'Killed'
	# Nobody could restore the terminal: that is the user's stty, or another paddock.
	term_type killed 'stty sane; clear; paddock attach term'
	term_type killed 'clear; echo $VALUE'
	line_shows killed kept
	term_type killed exit
	line_shows killed 'host\$'
	term_close killed
}

@test "the command is terminated, the window is closed: the terminal is restored, the session survives" {
	enter ended
	# What is drawn below the cursor does not stand behind the prompt later on.
	term_type ended 'clear; printf "\n\n\nbe""low\033[3A"'
	line_shows ended below
	kill -TERM "$(pgrep -f "^paddock exec -it -e HISTFILE= -e PS1=box>  term")"
	screen_shows ended 'detached: take it up again with: paddock attach term'
	line_shows ended 'host\$'
	run ! screen_has ended below
	same_terminal ended
	term_type ended 'clear; paddock attach term'
	term_type ended 'clear; echo st''ill'
	line_shows ended still
	term_close ended
	wait_until 20 sh -c '! pgrep -f "^paddock attach term"'
	term_open again
	term_type again 'stty -a | tail -n +2 > tty.before; paddock attach term'
	term_type again 'clear; echo st''ill'
	line_shows again still
	leave again
}

@test "-t without -i, and -i with output into a pipe" {
	term_open pipe
	term_type pipe "paddock exec -q -t term sh -c 'test -t 1 && echo a term''inal'"
	line_shows pipe 'a terminal'
	term_type pipe "clear; echo 'through a pipe' | paddock exec -q -i term cat | tr a-z A-Z"
	line_shows pipe 'THROUGH A PIPE'
	term_type pipe "clear; paddock run -q --name term -- -c 'test -t 1 || echo no term''inal' | cat"
	line_shows pipe 'no terminal'
	term_close pipe
}

@test "progress on a terminal is one line that goes away" {
	pd stop term
	term_open progress
	term_type progress 'paddock run --name term -- -c "echo inside"; echo fin''ished'
	screen_shows progress 'ooting the machine ...' 20
	line_shows progress finished 60
	lacks "$(screen progress)" '...'
	line_shows progress inside
	term_close progress
}

# Who starts the sandbox and sits at the terminal has openers of each kind; each of them would tell.
@test "what the guest wants to have opened, the host does not open" {
	local opener
	mkdir "$E2E/openers"
	for opener in xdg-open open gio gnome-open kde-open wslview x-www-browser www-browser \
		sensible-browser firefox chromium lpr dbus-send gdbus notify-send; do
		printf '#!/bin/sh\necho "${0##*/} $*" >> "%s"\n' "$E2E/opened" > "$E2E/openers/$opener"
		chmod +x "$E2E/openers/$opener"
	done
	pd stop term
	term_open opener
	term_type opener "PATH=$E2E/openers:\$PATH; export PATH BROWSER=xdg-open DISPLAY=:99; clear; xdg-open control"
	term_type opener "paddock run -q --name term -- -c 'echo \${BROWSER-no} \${DISPLAY-no} \${DBUS_SESSION_BUS_ADDRESS-thing}'"
	line_shows opener 'no no thing' 60
	term_type opener "paddock exec -it -e HISTFILE= -e PS1='box> ' term bash --norc --noprofile"
	line_shows opener 'box>'
	term_type opener 'for o in xdg-open open x-www-browser sensible-browser gio; do $o https://opened.test/ file:///etc/passwd; done; clear'
	# A hyperlink; what terminals have for opening, notifying, printing; a link that a program prints.
	term_type opener 'e="\033]"; printf "${e}8;;https://opened.test/\aa link${e}8;;\a ${e}1337;OpenURL=:aHR0cHM6Ly9vcGVuZWQudGVzdC8=\a${e}9;9;x\a${e}777;notify;a;b\a\033[5i\033[4i https://opened.test/"; echo; echo al''l said'
	line_shows opener 'all said'
	term_type opener exit
	line_shows opener 'host\$'
	equal "$(cat "$E2E/opened")" "xdg-open control"
	term_close opener
}

@test "kill -9 of the supervisor: the command ends with a word, the terminal is restored" {
	enter crash
	note_namespaces
	kill_hard "$(role_pid term supervisor)"
	screen_shows crash "the connection to sandbox 'term' ended"
	line_shows crash 'host\$'
	same_terminal crash
	term_close crash
}
