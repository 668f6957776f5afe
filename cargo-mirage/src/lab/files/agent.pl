# The agent in dom0: runs commands for the tool, several at once, over one virtio port.
# The frames are described in the tool's `lab::frame`. Only what perl-base has is used.
use strict;
use warnings;

my ($device, $folder) = @ARGV;   # where the tool is, and where commands' input is kept until they run
my $CHUNK = 32768;               # bytes read from a command at once; a frame carries at most 65536
my $COMMANDS = 64;               # commands at once
mkdir $folder;

# The port, or the number of a descriptor that is open already.
my $mode = $device =~ /\A[0-9]+\z/ ? '+<&=' : '+<';
open(my $port, $mode, $device) or die "agent: $device: $!\n";
binmode $port;
$SIG{PIPE} = 'IGNORE';

my $received = '';
my %commands;   # number => { pid, out, err, status }

sub put {
    my ($verb, $number, $payload) = @_;
    my $bytes = "$verb $number " . length($payload) . "\n" . $payload;
    my $at = 0;
    while ($at < length $bytes) {
        my $wrote = syswrite($port, $bytes, length($bytes) - $at, $at);
        exit 0 unless defined $wrote;   # the tool is gone
        $at += $wrote;
    }
}

sub refuse {
    my ($number, $reason) = @_;
    put('err', $number, "agent: $reason\n");
    put('end', $number, '255');
}

sub start {
    my ($number, $script) = @_;
    return refuse($number, 'a command of that number runs already') if $commands{$number};
    return refuse($number, "$COMMANDS commands run already") if keys %commands >= $COMMANDS;
    my $input = "$folder/$number";
    my ($out_read, $out_write, $err_read, $err_write);
    pipe($out_read, $out_write) and pipe($err_read, $err_write) or return refuse($number, "no pipe: $!");
    my $pid = fork;
    return refuse($number, "no process: $!") unless defined $pid;
    if ($pid == 0) {
        setpgrp(0, 0);
        open(STDIN, '<', -e $input ? $input : '/dev/null');
        unlink $input;
        open(STDOUT, '>&', $out_write);
        open(STDERR, '>&', $err_write);
        $SIG{PIPE} = 'DEFAULT';
        exec('/bin/sh', '-c', $script) or exit 127;
    }
    setpgrp($pid, $pid);
    $commands{$number} = { pid => $pid, out => $out_read, err => $err_read };
}

sub handle {
    my ($verb, $number, $payload) = @_;
    if ($verb eq 'run') {
        start($number, $payload);
    } elsif ($verb eq 'in') {
        if (open(my $file, '>>', "$folder/$number")) {
            binmode $file;
            print $file $payload;
        }
    } elsif ($verb eq 'kill') {
        kill(-9, $commands{$number}{pid}) if $commands{$number};
        unlink "$folder/$number";
    }
}

# Reads what came on the port; frames that are whole are handled.
sub receive {
    my $got = sysread($port, $received, 65536, length $received);
    exit 0 unless $got;   # the tool is gone
    while ($received =~ /\A(in|run|kill) ([0-9]+) ([0-9]+)\n/) {
        my ($verb, $number, $length, $header) = ($1, $2, $3, $+[0]);
        die "agent: a frame of $length bytes\n" if $length > 65536;
        last if length($received) < $header + $length;
        my $payload = substr($received, $header, $length);
        substr($received, 0, $header + $length, '');
        handle($verb, $number, $payload);
    }
    die "agent: not a frame\n" if $received ne '' and $received !~ /\A[a-z]{1,4}( [0-9]*( [0-9]*(\n|\z)|\z)|\z)/;
}

# Passes on what a command wrote on one of its streams; at its end, forgets the stream.
sub pass {
    my ($number, $stream) = @_;
    my $got = sysread($commands{$number}{$stream}, my $bytes, $CHUNK);
    if ($got) {
        put($stream, $number, $bytes);
    } else {
        delete $commands{$number}{$stream};
    }
}

open(my $uptime, '<', '/proc/uptime');
put('hello', 0, (split ' ', <$uptime>)[0]);

while (1) {
    my $ready = '';
    vec($ready, fileno($port), 1) = 1;
    for my $command (values %commands) {
        for my $stream ('out', 'err') {
            vec($ready, fileno($command->{$stream}), 1) = 1 if $command->{$stream};
        }
    }
    # A command may end while what it started keeps its output open: look now and then.
    my $busy = grep { defined $_->{status} or not ($_->{out} or $_->{err}) } values %commands;
    select($ready, undef, undef, $busy ? 0.02 : %commands ? 0.5 : undef);
    receive() if vec($ready, fileno($port), 1);
    for my $number (keys %commands) {
        my $command = $commands{$number};
        my $quiet = 1;
        for my $stream ('out', 'err') {
            next unless $command->{$stream} and vec($ready, fileno($command->{$stream}), 1);
            pass($number, $stream);
            $quiet = 0;
        }
        if (not defined $command->{status} and waitpid($command->{pid}, 1) > 0) {   # 1 is WNOHANG
            $command->{status} = $? & 127 ? 128 + ($? & 127) : $? >> 8;
            next;
        }
        # Whoever is left behind, a daemon for example, is no reason to wait.
        if (defined $command->{status} and $quiet) {
            put('end', $number, $command->{status});
            delete $commands{$number};
        }
    }
}
