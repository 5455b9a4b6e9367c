// Package options reads the command line that all examples share.
package options

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

// Options is what a command is told.
type Options struct {
	Endpoints []string // host:port of the members
	Namespace string
	Service   string
	ID        string // of the instance; its address when empty
	Addr      string // host:port where the instance is called
	TTL       int64  // in seconds
}

// Parse reads "COMMAND --flag value ..." and returns the command and the rest, or ends the program.
func Parse(commands ...string) (string, Options) {
	var o Options
	flags := flag.NewFlagSet(os.Args[0], flag.ExitOnError)
	endpoints := flags.String("endpoints", "127.0.0.1:2379", "members, host:port,...")
	flags.StringVar(&o.Namespace, "namespace", "default", "namespace of the service")
	flags.StringVar(&o.Service, "service", "", "name of the service")
	flags.StringVar(&o.ID, "id", "", "id of the instance (its address)")
	flags.StringVar(&o.Addr, "addr", "", "host:port where the instance is called")
	flags.Int64Var(&o.TTL, "ttl", 15, "seconds that the instance outlives its process")

	if len(os.Args) > 1 {
		for _, command := range commands {
			if os.Args[1] == command {
				_ = flags.Parse(os.Args[2:]) // ends the program when it fails
				o.Endpoints = strings.Split(*endpoints, ",")
				if o.ID == "" {
					o.ID = o.Addr
				}
				if o.Service == "" {
					fmt.Fprintln(os.Stderr, "--service is missing")
					os.Exit(2)
				}
				return command, o
			}
		}
	}
	fmt.Fprintf(os.Stderr, "usage: %s %s --service NAME ...\n", os.Args[0], strings.Join(commands, "|"))
	flags.PrintDefaults()
	os.Exit(2)
	panic("unreachable")
}
