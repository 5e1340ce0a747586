# Completion of jw for bash: `jw completion install bash`, or in ~/.bashrc: eval "$(jw completion bash)"
_jw_complete() {
    local program=jw kind word
    local -a answer
    case ${COMP_WORDS[0]} in
        '~/'*) program=$HOME/${COMP_WORDS[0]#'~/'} ;;
        */*) program=${COMP_WORDS[0]} ;;
    esac
    mapfile -t answer < <("$program" __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null </dev/null)
    kind=${answer[0]-}
    COMPREPLY=("${answer[@]:1}")
    word=${COMP_WORDS[COMP_CWORD]}
    [[ $word == = ]] && word=
    case $kind in
        files) compopt +o nospace -o default -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
        folders) compopt +o nospace -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$word") ;;
        commands) compopt +o nospace; mapfile -t COMPREPLY < <(compgen -c -- "$word") ;;
    esac
}
complete -o nosort -o nospace -F _jw_complete jw
