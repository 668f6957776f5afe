# Runs in the lab's dom0, with nothing but perl's own program:
#   meter.pl read                                           processor time of all domains
#   meter.pl boot ADDRESS MAC SECONDS QUERIES COMMAND…      runs COMMAND, watches the domain that it makes until it answers
# What it prints is described in the crate's `meter` module.
use strict;
use warnings;

# Names and numbers of Xen's public headers and of Linux's for user space.
my $IOCTL_PRIVCMD_HYPERCALL = 0x305000;         # _IOC(_IOC_NONE, 'P', 0, sizeof(struct privcmd_hypercall))
my $__HYPERVISOR_sysctl = 35;                   # xen.h
my $XEN_SYSCTL_getdomaininfolist = 6;           # sysctl.h
my $XEN_DOMINF_dying = 1 << 0;                  # domctl.h
my $XEN_DOMINF_shutdown = 1 << 2;
my $XEN_DOMINF_paused = 1 << 3;
my ($AF_INET, $SOCK_DGRAM, $SOCK_RAW, $IPPROTO_ICMP) = (2, 2, 3, 1);
my ($F_SETFL, $O_RDWR, $O_NONBLOCK) = (4, 2, 04000);
my ($SYS_clock_gettime, $CLOCK_MONOTONIC) = (228, 1);
my ($SIOCSARP, $ARPHRD_ETHER, $ATF_COM, $ATF_PERM) = (0x8955, 1, 2, 4);
my ($EACCES, $EFAULT, $WNOHANG) = (13, 14, 1);

open(my $privcmd, '+<', '/dev/xen/privcmd') or die "meter: /dev/xen/privcmd: $!\n";
# XEN_SYSCTL_INTERFACE_VERSION is another in each release: the first that Xen takes is right. 0x15 is that of 4.17.
my @versions = (0x15, 0x16 .. 0x20, 0x14, 0x13);

# Memory that Xen reads and writes. It must not be a constant's, nor move: it is never assigned to as a whole.
sub buffer {
    my ($length) = @_;
    my $buffer = '';
    vec($buffer, $length - 1, 8) = 0;
    return $buffer;
}
my $operation = buffer(136);    # struct xen_sysctl
my $information = buffer(1024); # one struct xen_domctl_getdomaininfo, whatever its length
my $clock = buffer(16);         # struct timespec

# Xen takes no page faults: after a fork, for example, a page is to be written to before Xen can.
sub touch {
    for my $buffer (@_) {
        vec($buffer, $_, 8) = vec($buffer, $_, 8) for 0, length($buffer) - 1;
    }
}

sub address_of { return unpack('Q', pack('P', $_[0])); }

# Nanoseconds.
sub now {
    syscall($SYS_clock_gettime, $CLOCK_MONOTONIC, $clock) == 0 or die "meter: clock_gettime: $!\n";
    my ($seconds, $nanoseconds) = unpack('q q', $clock);
    return $seconds * 1_000_000_000 + $nanoseconds;
}

# The first domain of that number or a higher one: its number, flags, pages, processor time in ns. Nothing if there is none.
sub domain_from {
    my ($first) = @_;
    my $attempts = 3;
    while (@versions) {
        touch($operation, $information);
        substr($operation, 0, 28) = pack('L L S x2 L Q L', $XEN_SYSCTL_getdomaininfolist, $versions[0], $first, 1,
            address_of($information), 0);
        my $call = pack('Q6', $__HYPERVISOR_sysctl, address_of($operation), 0, 0, 0, 0);
        if (!defined ioctl($privcmd, $IOCTL_PRIVCMD_HYPERCALL, $call)) {
            # A page that the kernel has moved meanwhile is there the next time.
            next if $! == $EFAULT && --$attempts;
            die "meter: XEN_SYSCTL_getdomaininfolist: $!\n" if $! != $EACCES;
            shift @versions;
            next;
        }
        return () if unpack('L', substr($operation, 24, 4)) == 0;
        my ($number, $flags, $pages, $cpu) = unpack('S x2 L Q x40 Q', $information);
        return ($number, $flags, $pages, $cpu);
    }
    die "meter: Xen takes no version of XEN_SYSCTL that is known here\n";
}

sub endpoint {
    my ($address, $port) = @_;
    return pack('S n C4 x8', $AF_INET, $port, split(/\./, $address));
}

sub checksum {
    my ($bytes) = @_;
    my $sum = unpack('%32n*', $bytes);
    $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
    return ~$sum & 0xffff;
}

sub read_all {
    printf "at %d\n", now();
    my $first = 0;
    while (my ($number, $flags, $pages, $cpu) = domain_from($first)) {
        print "domain $number cpu $cpu pages $pages\n";
        $first = $number + 1;
    }
}

# A query for example.org's SOA, with that identifier.
sub query {
    my ($identifier) = @_;
    return pack('n n n4', $identifier, 0, 1, 0, 0, 0) . "\7example\3org\0" . pack('n n', 6, 1);
}

# The identifier of an answer without an error that has one record at least.
sub answered {
    my ($bytes) = @_;
    return undef if length($bytes) < 12;
    my ($identifier, $flags, $questions, $answers) = unpack('n4', $bytes);
    return ($flags & 0x800f) == 0x8000 && $answers > 0 ? $identifier : undef;
}

# From now on dom0 knows the hardware address: a packet goes out at once, and not only when the next ARP request is due,
# which is up to a second later.
sub know {
    my ($socket, $address, $mac) = @_;
    my $hardware = pack('S C6 x8', $ARPHRD_ETHER, map { hex } split(/:/, $mac));
    my $request = endpoint($address, 0) . $hardware . pack('l x16 a16', $ATF_COM | $ATF_PERM, 'xenbr0');
    defined ioctl($socket, $SIOCSARP, $request) or die "meter: SIOCSARP for $address: $!\n";
}

sub boot {
    my ($address, $mac, $seconds, $queries, @command) = @_;
    my $before = -1;
    while (my ($number) = domain_from($before + 1)) { $before = $number; }

    socket(my $echo, $AF_INET, $SOCK_RAW, $IPPROTO_ICMP) or die "meter: no socket for ICMP: $!\n";
    socket(my $ask, $AF_INET, $SOCK_DGRAM, 0) or die "meter: no socket for UDP: $!\n";
    know($ask, $address, $mac);
    connect($ask, endpoint($address, 53)) or die "meter: $address: $!\n";
    fcntl($_, $F_SETFL, $O_RDWR | $O_NONBLOCK) for $echo, $ask;
    my ($readable, $identifier) = ('', $$ & 0xffff);
    vec($readable, fileno($_), 1) = 1 for $echo, $ask;

    my $start = now();
    my $until = $start + $seconds * 1_000_000_000;
    my $pid = fork;
    die "meter: no process: $!\n" unless defined $pid;
    if ($pid == 0) {
        open(STDOUT, '>&', *STDERR);
        exec(@command) or exit 127;
    }
    my (%seen, $domain, $running);
    my $next = 0;
    my $note = sub {
        my ($what, $cpu) = @_;
        return if $seen{$what}++;
        printf "%s %d%s\n", $what, now() - $start, defined $cpu ? " cpu $cpu" : '';
    };
    while (now() < $until) {
        if (!$seen{created} && waitpid($pid, $WNOHANG) == $pid) {
            my $status = $?;
            $note->('created');
            printf "status %d\n", $status >> 8 || $status;
            last if $status != 0;
        }
        my ($number, $flags, $pages, $cpu) = domain_from($domain // $before + 1);
        if (defined $number && (!defined $domain || $number == $domain)) {
            if (!defined $domain) {
                $domain = $number;
                print "domain $domain\n";
            }
            $note->('unpaused', $cpu) if !($flags & $XEN_DOMINF_paused);
            if ($flags & $XEN_DOMINF_shutdown && !$seen{ended}) {
                $note->('ended', $cpu);
                printf "reason %d\n", $flags >> 16 & 0xff;
            }
        } elsif (defined $domain) {
            $note->('ended');
        }
        # Asked at most as often as a hundredth of the time that it has taken so far: what is asked before it can answer takes
        # its time, too. Errors are expected until the interface is there.
        my $now = now();
        $running //= $now if $seen{unpaused};
        if (defined $running && !$seen{ended} && $now >= $next) {
            my $pause = ($now - $running) / 100;
            $next = $now + ($pause > 5_000_000 ? $pause : 5_000_000);
            if ($seen{network}) {
                send($ask, query(0x4d69), 0);
            } else {
                my $packet = pack('C C n n n', 8, 0, 0, $identifier, 1);
                substr($packet, 2, 2) = pack('n', checksum($packet));
                send($echo, $packet, 0, endpoint($address, 0));
            }
        }
        select(my $ready = $readable, undef, undef, 0.005);
        while (defined recv($echo, my $packet, 2048, 0)) {
            my ($kind, $code, undef, $of) = unpack('C C n n', substr($packet, (ord($packet) & 0xf) * 4));
            my $from = join('.', unpack('C4', substr($packet, 12, 4)));
            next unless $kind == 0 && $of == $identifier && $from eq $address;
            my (undef, undef, undef, $cpu) = domain_from($domain);
            $note->('network', $cpu);
            $next = 0;
        }
        while (defined recv($ask, my $packet, 2048, 0)) {
            next unless (answered($packet) // -1) == 0x4d69;
            my (undef, undef, $pages, $cpu) = domain_from($domain);
            $note->('answer', $cpu);
            print "pages $pages\n" if $seen{answer} == 1;
        }
        # xl is not disturbed in what it does last.
        last if ($seen{answer} || $seen{ended}) && $seen{created};
    }
    # What answers once goes on answering: one query after the other, each asked up to three times.
    my $answers = 0;
    if ($seen{answer}) {
        for my $identifier (1 .. $queries) {
            my $found = 0;
            for (1 .. 3) {
                send($ask, query($identifier), 0);
                my $until = now() + 1_000_000_000;
                while (!$found && now() < $until) {
                    select(my $ready = $readable, undef, undef, 0.1);
                    while (defined recv($ask, my $packet, 2048, 0)) {
                        $found = 1 if (answered($packet) // -1) == $identifier;
                    }
                    # Echoes that came late would keep the wait from waiting.
                    1 while defined recv($echo, my $packet, 2048, 0);
                }
                last if $found;
            }
            $answers += $found;
        }
    }
    print "answers $answers\n";
    # A command that makes no domain within its time is not left behind.
    if (!$seen{created}) { kill('KILL', $pid); waitpid($pid, 0); }
}

my ($verb, @arguments) = @ARGV;
if ($verb eq 'read') { read_all(); }
elsif ($verb eq 'boot') { boot(@arguments); }
else { die "meter: what is `$verb`?\n"; }
