# luthier: completion for bash 4.4 and later. Made by `luthier completion bash`.
_luthier_completion() {
    local program=${1/#'~/'/"$HOME/"}
    local -a fields
    mapfile -d '' -t fields < <(
        _LUTHIER_COMPLETE=bash "$program" "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" \
            2>/dev/null </dev/null
    )
    COMPREPLY=("${fields[@]:1}")
    case ${fields[0]-} in
        file) compopt -o default ;;
        dir) compopt -o dirnames ;;
        nospace) compopt -o nospace ;;
        # as files, so that the quote of a folder stays open
        quoted) compopt -o nospace -o filenames -o noquote ;;
    esac
}
complete -o nosort -F _luthier_completion luthier
