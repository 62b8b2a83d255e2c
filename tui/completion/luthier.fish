# luthier: completion for fish. Made by `luthier completion fish`.
function __luthier_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -l fields (env _LUTHIER_COMPLETE=fish $program $words[2..-1] "$typed" 2>/dev/null </dev/null | string split0)
    switch "$fields[1]"
        case file
            string join0 -- (complete -C "'' $typed")
        case dir
            string join0 -- (__fish_complete_directories "$typed")
    end
    set -e fields[1]
    string join0 -- $fields
end
complete --command luthier --no-files --keep-order --arguments '(__luthier_complete | string split0)'
