package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/scenarios/demo"
	"github.com/spf13/cobra"
)

func (t *tool) demoCommand() *cobra.Command {
	var o demo.Options
	var profile string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Play the door-lock and the medical story, then the attacks",
		Long: "Plays both stories with the real programs as processes on free loopback ports, then the attacks, each of which\n" +
			"must be refused for its own reason. It ends with 0 only if every step and every refusal held.\n\n" +
			"With --profile coap_dtls phone and lock of the first story talk over DTLS (RFC 9202); the rest is the same.",
		Example: "  latchkey demo\n  latchkey demo -v\n  latchkey demo --stay\n  latchkey demo --profile coap_dtls",
		Args:    command.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			self, err := os.Executable()
			if err != nil {
				return err
			}
			if o.Profile, err = parseProfile(profile); err != nil {
				return err
			}
			o.Bin, o.Out = filepath.Dir(self), cmd.OutOrStdout()
			if t.json {
				lines := json.NewEncoder(cmd.OutOrStdout())
				o.Out, o.Report = io.Discard, func(r demo.Result) { _ = lines.Encode(r) }
			}
			return demo.Play(cmd.Context(), o)
		},
	}
	c.Flags().BoolVar(&o.Stay, "stay", false, "leave everything up afterwards")
	c.Flags().StringVar(&profile, "profile", pop.ProfileCoAPOSCORE.String(), "of the door lock's story: coap_oscore or coap_dtls")
	c.Flags().BoolVarP(&o.Verbose, "verbose", "v", false, "show each message decoded, CBOR in diagnostic notation")
	return c
}
