#compdef jw
# Completion of jw for zsh: `jw completion install zsh`, or in ~/.zshrc after compinit: eval "$(jw completion zsh)"
_jw() {
    local program=jw kind
    local -a answer
    [[ $words[1] == */* ]] && program=${~${(Q)words[1]}}
    answer=("${(@f)$("$program" __complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null </dev/null)}")
    kind=$answer[1]
    answer=("${(@)answer[2,-1]}")
    [[ $PREFIX == --*=* ]] && compset -P 1 '*=' && answer=("${(@)answer#--*=}")
    case $kind in
        files) _files ;;
        folders) _files -/ ;;
        commands) _command_names -e ;;
        more) (( $#answer )) && _describe -V -t values jw answer -S '' ;;
        values) (( $#answer )) && _describe -V -t values jw answer ;;
    esac
}
if [[ $funcstack[1] == _jw ]]; then
    _jw "$@"
else
    compdef _jw jw
fi
