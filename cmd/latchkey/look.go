package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/spf13/cobra"
)

const maxTokenFile = 64 << 10 // bytes

func (t *tool) tokenCommand() *cobra.Command {
	inspect := &cobra.Command{
		Use:   "inspect FILE|-",
		Short: "Show what a token looks like from outside; proves nothing",
		Long: "Shows a token's structure in CBOR diagnostic notation, or a JWT's header and claims. It checks no signature:\n" +
			"what it shows may be forged. What is encrypted stays closed.",
		Example: "  latchkey token inspect token.cwt\n  phone token --print | latchkey token inspect -",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			token, err := readToken(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			view, err := inspect(token)
			if err != nil {
				return err
			}
			return t.say(cmd.OutOrStdout(), map[string]string{"token": view}, "%s", view)
		},
	}
	return group("token", "Tokens", inspect)
}

// readToken takes the bytes, or their hex or base64url text.
func readToken(stdin io.Reader, name string) ([]byte, error) {
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, maxTokenFile))
	if err != nil {
		return nil, err
	}
	text := string(bytes.TrimSpace(data))
	if raw, err := hex.DecodeString(text); err == nil && len(raw) > 0 {
		return raw, nil
	}
	if raw, err := base64.RawURLEncoding.DecodeString(text); err == nil && len(raw) > 0 {
		return raw, nil
	}
	if len(data) == 0 {
		return nil, errors.New("no token given")
	}
	if strings.Count(text, ".") == 2 {
		return []byte(text), nil
	}
	return data, nil
}

func inspect(token []byte) (string, error) {
	if bytes.Count(token, []byte(".")) == 2 && bytes.HasPrefix(token, []byte("eyJ")) {
		return jose.Describe(string(token))
	}
	return cwt.Describe(token)
}

func (t *tool) auditCommand() *cobra.Command {
	var n int
	tail := &cobra.Command{
		Use: "tail", Short: "Show the newest decisions", Example: "  latchkey audit tail -n 20", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := t.open(cmd.Context())
			if err != nil {
				return err
			}
			defer h.Close()
			entries, err := h.store.AuditTail(cmd.Context(), n)
			if err != nil {
				return err
			}
			for _, e := range entries {
				line := map[string]any{"at": e.At, "event": e.Event, "result": e.Result, "reason": e.Reason, "client": e.Client, "user": e.User, "device": e.Device, "grant": grantName(e.Grant)}
				words := fmt.Sprintf("%s  %-12s %-8s client=%s user=%s device=%s %s", when(e.At, ""), e.Event, e.Result, e.Client, e.User, e.Device, e.Reason)
				if err := t.say(cmd.OutOrStdout(), line, "%s", words); err != nil {
					return err
				}
			}
			return nil
		},
	}
	tail.Flags().IntVarP(&n, "lines", "n", 50, "how many")
	return group("audit", "Decisions", tail)
}
