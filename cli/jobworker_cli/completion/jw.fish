# Completion of jw for fish: `jw completion install fish`, or: jw completion fish | source
function __jw_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program jw
    string match -q '*/*' -- $words[1]; and set program $words[1]
    set -l answer ($program __complete fish $words[2..-1] "$current" 2>/dev/null </dev/null)
    switch "$answer[1]"
        case files
            __fish_complete_path "$current"
        case folders
            __fish_complete_directories "$current" ''
        case commands
            complete -C "$current"
        case '*'
            string join \n -- $answer[2..-1]
    end
end
complete -c jw -f -k -a '(__jw_complete)'
