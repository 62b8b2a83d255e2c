#compdef luthier
# luthier: completion for zsh. Made by `luthier completion zsh`.
_luthier() {
    local program=${words[1]/#\~\//$HOME/}
    local line="${(j: :)words[2,CURRENT-1]} $IPREFIX$QIPREFIX$PREFIX"
    local -a fields values displays
    fields=("${(@0)$(_LUTHIER_COMPLETE=zsh "$program" "$line" "$COLUMNS" 2>/dev/null </dev/null)}")
    local at
    for ((at = 2; at < $#fields; at += 2)); do
        values+=("$fields[at]")
        displays+=("$fields[at+1]")
    done
    case $fields[1] in
        file) [[ $PREFIX == -*=* ]] && compset -P '*='; _files ;;
        dir) [[ $PREFIX == -*=* ]] && compset -P '*='; _files -/ ;;
        nospace) compadd -l -d displays -V luthier -S '' -a values ;;
        *) compadd -l -d displays -V luthier -a values ;;
    esac
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _luthier "$@"
else
    compdef _luthier luthier
fi
