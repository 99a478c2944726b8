# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_lastwords_agent_global_optspecs
    string join \n h/help V/version
end

function __fish_lastwords_agent_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_lastwords_agent_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_lastwords_agent_using_subcommand
    set -l cmd (__fish_lastwords_agent_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c lastwords-agent -n "__fish_lastwords_agent_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lastwords-agent -n "__fish_lastwords_agent_needs_command" -s V -l version -d 'Print version'
complete -c lastwords-agent -n "__fish_lastwords_agent_needs_command" -f -a "collect" -d 'Find crash records, keep them in the spool, hand over what waits, and forget what was handed over'
complete -c lastwords-agent -n "__fish_lastwords_agent_needs_command" -f -a "deliver" -d 'Hand over what waits in the spool, and look for nothing: the half that needs the network and no privilege'
complete -c lastwords-agent -n "__fish_lastwords_agent_needs_command" -f -a "doctor" -d 'Say whether a crash of this machine would be kept and told. Exit code 0: yes, 74: no, 75: it cannot be seen'
complete -c lastwords-agent -n "__fish_lastwords_agent_needs_command" -f -a "drill" -d 'Prove the way of a crash to the service'
complete -c lastwords-agent -n "__fish_lastwords_agent_needs_command" -f -a "boot" -d 'Enter the running boot in the ledger, or mark that it ends in order; run by lastwords-boot.service'
complete -c lastwords-agent -n "__fish_lastwords_agent_needs_command" -f -a "receipts" -d 'The receipts that this node holds'
complete -c lastwords-agent -n "__fish_lastwords_agent_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l every -d 'Do it again every so many seconds, where no timer does, until told to end; and twice an hour tell the service what the doctor finds' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l pstore-dir -d 'Folder of pstore records; may be given several times. Without any source named, the usual ones are looked through: /sys/fs/pstore, /var/lib/systemd/pstore, /var/crash' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l archive-dir -d 'systemd\'s archive of such records' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l crash-dir -d 'Folder in which crash kernels leave a folder for each crash' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l config -d 'Settings; what the command line says goes before them [default: /etc/lastwords/agent.toml, if it is there]' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l spool -d 'Folder in which evidence is kept until the service has it [default: /var/spool/lastwords]' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l server -d 'The service; several are replicas of one. Without it, evidence is only kept' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l token-file -d 'File that holds the token' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l label -d 'A label for this node; may be given several times' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l ca-file -d 'Certificates (PEM) to trust instead of the public roots' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l pin -d 'The service\'s public key; without it the first one met is pinned' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l core -d 'What of a dump of memory is handed over: none, summary, extract or full [default: summary]' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l deadline -d 'Seconds to go on trying when the service is away [default: 60]' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l root -d 'Where /proc, /sys and /etc lie' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l insecure -d 'Allow plain HTTP to other machines'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l forget -d 'Erase records once a verified receipt says that the service has them'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l retry-held -d 'Offer again what the service did not take before'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l keep-only -d 'Keep evidence and hand over nothing, whatever server the settings name'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -l json -d 'Print one JSON document'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand collect" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l pstore-dir -d 'Folder of pstore records; may be given several times. Without any source named, the usual ones are looked through: /sys/fs/pstore, /var/lib/systemd/pstore, /var/crash' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l archive-dir -d 'systemd\'s archive of such records' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l crash-dir -d 'Folder in which crash kernels leave a folder for each crash' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l config -d 'Settings; what the command line says goes before them [default: /etc/lastwords/agent.toml, if it is there]' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l spool -d 'Folder in which evidence is kept until the service has it [default: /var/spool/lastwords]' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l server -d 'The service; several are replicas of one. Without it, evidence is only kept' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l token-file -d 'File that holds the token' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l label -d 'A label for this node; may be given several times' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l ca-file -d 'Certificates (PEM) to trust instead of the public roots' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l pin -d 'The service\'s public key; without it the first one met is pinned' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l core -d 'What of a dump of memory is handed over: none, summary, extract or full [default: summary]' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l deadline -d 'Seconds to go on trying when the service is away [default: 60]' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l root -d 'Where /proc, /sys and /etc lie' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l insecure -d 'Allow plain HTTP to other machines'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l forget -d 'Erase records once a verified receipt says that the service has them'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l retry-held -d 'Offer again what the service did not take before'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l keep-only -d 'Keep evidence and hand over nothing, whatever server the settings name'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -l json -d 'Print one JSON document'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand deliver" -s h -l help -d 'Print help'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l pstore-dir -d 'Folder of pstore records; may be given several times. Without any source named, the usual ones are looked through: /sys/fs/pstore, /var/lib/systemd/pstore, /var/crash' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l archive-dir -d 'systemd\'s archive of such records' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l crash-dir -d 'Folder in which crash kernels leave a folder for each crash' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l config -d 'Settings; what the command line says goes before them [default: /etc/lastwords/agent.toml, if it is there]' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l spool -d 'Folder in which evidence is kept until the service has it [default: /var/spool/lastwords]' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l server -d 'The service; several are replicas of one. Without it, evidence is only kept' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l token-file -d 'File that holds the token' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l label -d 'A label for this node; may be given several times' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l ca-file -d 'Certificates (PEM) to trust instead of the public roots' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l pin -d 'The service\'s public key; without it the first one met is pinned' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l core -d 'What of a dump of memory is handed over: none, summary, extract or full [default: summary]' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l deadline -d 'Seconds to go on trying when the service is away [default: 60]' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l root -d 'Where /proc, /sys and /etc lie' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l tell -d 'Tell the service what was found'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l note -d 'Note what was found in the spool; the next `deliver` tells it'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l insecure -d 'Allow plain HTTP to other machines'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l forget -d 'Erase records once a verified receipt says that the service has them'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l retry-held -d 'Offer again what the service did not take before'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l keep-only -d 'Keep evidence and hand over nothing, whatever server the settings name'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -l json -d 'Print one JSON document'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l pstore-dir -d 'Folder of pstore records; may be given several times. Without any source named, the usual ones are looked through: /sys/fs/pstore, /var/lib/systemd/pstore, /var/crash' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l archive-dir -d 'systemd\'s archive of such records' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l crash-dir -d 'Folder in which crash kernels leave a folder for each crash' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l config -d 'Settings; what the command line says goes before them [default: /etc/lastwords/agent.toml, if it is there]' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l spool -d 'Folder in which evidence is kept until the service has it [default: /var/spool/lastwords]' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l server -d 'The service; several are replicas of one. Without it, evidence is only kept' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l token-file -d 'File that holds the token' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l label -d 'A label for this node; may be given several times' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l ca-file -d 'Certificates (PEM) to trust instead of the public roots' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l pin -d 'The service\'s public key; without it the first one met is pinned' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l core -d 'What of a dump of memory is handed over: none, summary, extract or full [default: summary]' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l deadline -d 'Seconds to go on trying when the service is away [default: 60]' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l root -d 'Where /proc, /sys and /etc lie' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l synthetic -d 'Hand over a made-up record; the machine goes on'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l really-panic-this-machine -d 'Make this machine panic, now. The next boot\'s collect notes what became of it'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l insecure -d 'Allow plain HTTP to other machines'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l forget -d 'Erase records once a verified receipt says that the service has them'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l retry-held -d 'Offer again what the service did not take before'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l keep-only -d 'Keep evidence and hand over nothing, whatever server the settings name'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -l json -d 'Print one JSON document'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand drill" -s h -l help -d 'Print help'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l pstore-dir -d 'Folder of pstore records; may be given several times. Without any source named, the usual ones are looked through: /sys/fs/pstore, /var/lib/systemd/pstore, /var/crash' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l archive-dir -d 'systemd\'s archive of such records' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l crash-dir -d 'Folder in which crash kernels leave a folder for each crash' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l config -d 'Settings; what the command line says goes before them [default: /etc/lastwords/agent.toml, if it is there]' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l spool -d 'Folder in which evidence is kept until the service has it [default: /var/spool/lastwords]' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l server -d 'The service; several are replicas of one. Without it, evidence is only kept' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l token-file -d 'File that holds the token' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l label -d 'A label for this node; may be given several times' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l ca-file -d 'Certificates (PEM) to trust instead of the public roots' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l pin -d 'The service\'s public key; without it the first one met is pinned' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l core -d 'What of a dump of memory is handed over: none, summary, extract or full [default: summary]' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l deadline -d 'Seconds to go on trying when the service is away [default: 60]' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l root -d 'Where /proc, /sys and /etc lie' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l ending -d 'Mark that this boot ends in order'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l insecure -d 'Allow plain HTTP to other machines'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l forget -d 'Erase records once a verified receipt says that the service has them'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l retry-held -d 'Offer again what the service did not take before'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l keep-only -d 'Keep evidence and hand over nothing, whatever server the settings name'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -l json -d 'Print one JSON document'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand boot" -s h -l help -d 'Print help'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and not __fish_seen_subcommand_from verify help" -s h -l help -d 'Print help'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and not __fish_seen_subcommand_from verify help" -f -a "verify" -d 'Verify checksums, signatures and the chain offline, and hold them against the spool. Exit code 76 if something is wrong'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and not __fish_seen_subcommand_from verify help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l key -d 'The service\'s public key in hex, instead of the pinned ones' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l pstore-dir -d 'Folder of pstore records; may be given several times. Without any source named, the usual ones are looked through: /sys/fs/pstore, /var/lib/systemd/pstore, /var/crash' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l archive-dir -d 'systemd\'s archive of such records' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l crash-dir -d 'Folder in which crash kernels leave a folder for each crash' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l config -d 'Settings; what the command line says goes before them [default: /etc/lastwords/agent.toml, if it is there]' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l spool -d 'Folder in which evidence is kept until the service has it [default: /var/spool/lastwords]' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l server -d 'The service; several are replicas of one. Without it, evidence is only kept' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l token-file -d 'File that holds the token' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l label -d 'A label for this node; may be given several times' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l ca-file -d 'Certificates (PEM) to trust instead of the public roots' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l pin -d 'The service\'s public key; without it the first one met is pinned' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l core -d 'What of a dump of memory is handed over: none, summary, extract or full [default: summary]' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l deadline -d 'Seconds to go on trying when the service is away [default: 60]' -r
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l root -d 'Where /proc, /sys and /etc lie' -r -F
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l insecure -d 'Allow plain HTTP to other machines'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l forget -d 'Erase records once a verified receipt says that the service has them'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l retry-held -d 'Offer again what the service did not take before'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l keep-only -d 'Keep evidence and hand over nothing, whatever server the settings name'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -l json -d 'Print one JSON document'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Verify checksums, signatures and the chain offline, and hold them against the spool. Exit code 76 if something is wrong'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand receipts; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand help; and not __fish_seen_subcommand_from collect deliver doctor drill boot receipts help" -f -a "collect" -d 'Find crash records, keep them in the spool, hand over what waits, and forget what was handed over'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand help; and not __fish_seen_subcommand_from collect deliver doctor drill boot receipts help" -f -a "deliver" -d 'Hand over what waits in the spool, and look for nothing: the half that needs the network and no privilege'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand help; and not __fish_seen_subcommand_from collect deliver doctor drill boot receipts help" -f -a "doctor" -d 'Say whether a crash of this machine would be kept and told. Exit code 0: yes, 74: no, 75: it cannot be seen'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand help; and not __fish_seen_subcommand_from collect deliver doctor drill boot receipts help" -f -a "drill" -d 'Prove the way of a crash to the service'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand help; and not __fish_seen_subcommand_from collect deliver doctor drill boot receipts help" -f -a "boot" -d 'Enter the running boot in the ledger, or mark that it ends in order; run by lastwords-boot.service'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand help; and not __fish_seen_subcommand_from collect deliver doctor drill boot receipts help" -f -a "receipts" -d 'The receipts that this node holds'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand help; and not __fish_seen_subcommand_from collect deliver doctor drill boot receipts help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c lastwords-agent -n "__fish_lastwords_agent_using_subcommand help; and __fish_seen_subcommand_from receipts" -f -a "verify" -d 'Verify checksums, signatures and the chain offline, and hold them against the spool. Exit code 76 if something is wrong'
