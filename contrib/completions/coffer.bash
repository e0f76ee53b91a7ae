# bash completion for coffer

# A colon is part of a principal; bash takes it for the end of a word unless it is told otherwise.
_coffer()
{
	local cur prev words cword

	if declare -F _get_comp_words_by_ref > /dev/null; then
		_get_comp_words_by_ref -n : cur prev words cword
	else
		words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
		cur=${words[cword]} prev=${words[cword-1]}
	fi
	_coffer_words
	if declare -F __ltrim_colon_completions > /dev/null; then
		__ltrim_colon_completions "$cur"
	fi
}

_coffer_words()
{
	local mount=${COFFER_MOUNT:-/vault} command="" sub="" i
	local commands='put get list show versions edit attr enable disable delete recover purge destroy rollback grant revoke bindings block unblock blocks exposed holders wait-drained roles role can-i whoami status vault
		rotate rotation history hook events audit backup restore recipient seal unseal doctor init fsck break-glass version help'
	local roles='administrator reader secrets-officer secrets-user secrets-writer certificates-officer certificate-user crypto-officer crypto-user
		crypto-service-encryption-user purge-operator data-access-administrator auditor'
	local actions='secrets/get secrets/list secrets/set secrets/update secrets/delete secrets/recover secrets/backup secrets/restore
		secrets/purge bindings/list bindings/create bindings/delete roles/create vault/update vault/seal vault/status vault/metrics audit/read'
	local globals='--mount --vault --help' options=""
	local operand=0

	for ((i = 1; i < cword; i++)); do
		case ${words[i]} in
		-m|--mount) mount=${words[++i]} ;;
		--vault|--output|--file|--set|--content-type|--not-before|--expires|--tag|--untag|--version|--at|--timeout|--on|--from|--until|--reason|--as|--since|--secret|--verify-key|--kek|--admin|--retention|--value-max|--enforce-validity|--recipient|--passphrase-file|--public-key|--key|--signer|--existing|--into|--purge-protection|--near-expiry|--every|--before-expiry|--expiry|--generator|--hook|--user|--exec|--event|--debounce|--keep-versions|--keep-for|--prefix) ((i++)) ;;
		-*) ;;
		*)
			if [[ -z $command ]]; then
				command=${words[i]}
			elif [[ ( $command == role || $command == vault || $command == recipient || $command == rotation || $command == history || $command == hook ) && -z $sub ]]; then
				sub=${words[i]}
			elif [[ $command == audit && ${words[i]} == verify ]]; then
				sub=verify
			elif [[ $command == backup && -z $sub && ( ${words[i]} == verify || ${words[i]} == drill ) ]]; then
				sub=${words[i]}
			else
				((operand++))
			fi
			;;
		esac
	done

	case $prev in
	-m|--mount|--set) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
	--file|--verify-key|--passphrase-file|--public-key|--key|--from) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	--existing) mapfile -t COMPREPLY < <(compgen -W 'refuse skip append' -- "$cur"); return ;;
	--into) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
	--output) mapfile -t COMPREPLY < <(compgen -W 'table json' -- "$cur"); return ;;
	--enforce-validity) mapfile -t COMPREPLY < <(compgen -W 'on off' -- "$cur"); return ;;
	--generator) mapfile -t COMPREPLY < <(compgen -W 'random:32 password:32 uuid rsa:3072 ec:p256 ed25519' -- "$cur"); return ;;
	--event) mapfile -t COMPREPLY < <(compgen -W 'NewVersionCreated NearExpiry Expired Deleted Recovered Purged VersionDestroyed BindingChanged SelfGranted RotationFailed' -- "$cur"); return ;;
	--user) mapfile -t COMPREPLY < <(compgen -u -- "$cur"); return ;;
	--hook|--exec) mapfile -t COMPREPLY < <(compgen -c -- "$cur"); return ;;
	--value-max) mapfile -t COMPREPLY < <(compgen -W '64K 256K 1M' -- "$cur"); return ;;
	--kek) mapfile -t COMPREPLY < <(compgen -W 'file: passphrase:' -- "$cur"); return ;;
	--secret|--on) mapfile -t COMPREPLY < <(compgen -W "$(ls -- "$mount" 2>/dev/null)" -- "$cur"); return ;;
	--admin|--as) mapfile -t COMPREPLY < <(compgen -W "everyone host $(compgen -P user: -u) $(compgen -P group: -g)" -- "$cur"); return ;;
	--at) mapfile -t COMPREPLY < <(compgen -W "$(ls -- "$mount/.coffer/at" 2>/dev/null)" -- "$cur"); return ;;
	--vault|--content-type|--not-before|--expires|--tag|--untag|--version|--until|--reason|--since|--retention|--recipient|--signer|--near-expiry|--every|--before-expiry|--expiry|--timeout|--debounce|--keep-versions|--keep-for|--prefix) return ;;
	esac

	if [[ -z $command ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$commands $globals --output --version" -- "$cur")
		return
	fi
	case $command in
	put) options='--file --content-type --not-before --expires --tag --trim --set --prefix --follow' ;;
	get) options='--version --at' ;;
	enable|disable) options='--version' ;;
	destroy) options='--version --yes' ;;
	purge|seal) options='--yes' ;;
	list) options='--deleted --output' ;;
	attr) options='--version --content-type --not-before --expires --tag --untag --keep-versions --keep-for --yes' ;;
	grant) options='--on --from --until --reason' ;;
	revoke) options='--on' ;;
	bindings) options='--on --output' ;;
	block) options='--reason --force' ;;
	exposed) options='--since --output' ;;
	holders) options='--version --output' ;;
	wait-drained) options='--version --timeout' ;;
	can-i) options='--as --output' ;;
	audit)
		options='--follow --since --secret --denied --output'
		[[ $sub == verify ]] && options='--verify-key' ;;
	backup)
		options='--all --recipient --passphrase-file --public-key'
		[[ $sub == verify ]] && options='--signer --output'
		[[ $sub == drill ]] && options='--key --passphrase-file --signer --no-record' ;;
	restore) options='--signer --key --passphrase-file --existing --with-grants --dry-run --into --kek' ;;
	recipient)
		options=''
		[[ $sub == add ]] && options='--public-key'
		[[ $sub == list ]] && options='--output' ;;
	show|versions|blocks|roles|whoami|status|doctor) options='--output' ;;
	vault)
		options='--output'
		[[ $sub == set ]] && options='--value-max --enforce-validity --purge-protection --near-expiry --keep-versions --keep-for --yes --output' ;;
	rotate) options='--from --generator' ;;
	rotation)
		options=''
		[[ $sub == show || $sub == list ]] && options='--output'
		[[ $sub == set ]] && options='--every --before-expiry --expiry --generator --hook --notify --user --timeout' ;;
	history)
		options=''
		[[ $sub == show || $sub == list ]] && options='--output'
		[[ $sub == set ]] && options='--keep-versions --keep-for --yes' ;;
	hook)
		options=''
		[[ $sub == list ]] && options='--output'
		[[ $sub == add ]] && options='--on --event --exec --user --timeout --debounce' ;;
	events) options='--follow --since --secret --output' ;;
	init) options='--kek --admin --retention --purge-protection --users' ;;
	fsck) options='--kek --deep' ;;
	break-glass) options='--kek' ;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options $globals" -- "$cur")
		return
	fi

	case $command:$operand in
	put:0|get:0|show:0|versions:0|edit:0|attr:0|enable:0|disable:0|delete:0|destroy:0|rollback:0|can-i:1)
		mapfile -t COMPREPLY < <(compgen -W "$(ls -- "$mount" 2>/dev/null)" -- "$cur") ;;
	recover:0|purge:0) mapfile -t COMPREPLY < <(compgen -W "$(ls -- "$mount/.coffer/deleted" 2>/dev/null)" -- "$cur") ;;
	rollback:1) mapfile -t COMPREPLY < <(compgen -W "$(ls -- "$mount/${words[cword-1]}/versions" 2>/dev/null)" -- "$cur") ;;
	grant:0|revoke:0) mapfile -t COMPREPLY < <(compgen -W "$roles" -- "$cur") ;;
	grant:1|revoke:1|break-glass:1)
		mapfile -t COMPREPLY < <(compgen -W "everyone host $(compgen -P user: -u) $(compgen -P group: -g)" -- "$cur") ;;
	holders:0|wait-drained:0) mapfile -t COMPREPLY < <(compgen -W "$(ls -- "$mount" 2>/dev/null)" -- "$cur") ;;
	block:0|unblock:0|exposed:0)
		mapfile -t COMPREPLY < <(compgen -W "everyone $(compgen -P user: -u) $(compgen -P group: -g)" -- "$cur") ;;
	can-i:0) mapfile -t COMPREPLY < <(compgen -W "$actions" -- "$cur") ;;
	rotate:*) mapfile -t COMPREPLY < <(compgen -W "$(ls -- "$mount" 2>/dev/null)" -- "$cur") ;;
	rotation:*) if [[ -z $sub ]]; then
			mapfile -t COMPREPLY < <(compgen -W 'set show list remove' -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -W "$(ls -- "$mount" 2>/dev/null)" -- "$cur")
		fi ;;
	hook:*) [[ -n $sub ]] || mapfile -t COMPREPLY < <(compgen -W 'add list remove' -- "$cur") ;;
	backup:*) if [[ -n $sub ]]; then
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -W "verify drill $(ls -- "$mount" 2>/dev/null)" -- "$cur")
		fi ;;
	recipient:*) if [[ -z $sub ]]; then
			mapfile -t COMPREPLY < <(compgen -W 'add list remove keygen' -- "$cur")
		elif [[ $sub == keygen ]]; then
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		fi ;;
	vault:*) [[ -n $sub ]] || mapfile -t COMPREPLY < <(compgen -W 'show set' -- "$cur") ;;
	role:*) if [[ -z $sub ]]; then
			mapfile -t COMPREPLY < <(compgen -W 'create' -- "$cur")
		elif ((operand > 0)); then
			mapfile -t COMPREPLY < <(compgen -W "$actions" -- "$cur")
		fi ;;
	audit:0) if [[ $sub == verify ]]; then
			mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -W 'verify' -- "$cur")
		fi ;;
	init:0|fsck:0|break-glass:0) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	help:0) mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
	esac
}

complete -F _coffer coffer
