package oscore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// JournalFile is the durable memory of a Journal; *os.File is one. It belongs to one context alone.
type JournalFile interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns nil only when everything written is durable.
	Sync() error
}

// Errors of journals.
var (
	// ErrJournal: the file holds no valid record, or both are damaged. The context it belongs to must not be made again.
	ErrJournal = errors.New("oscore: no journal, or a damaged one")
	// ErrJournalExists: the file is a journal already, whose numbers are used up to its limit.
	ErrJournalExists = errors.New("oscore: journal exists")
	// ErrJournalBroken: a write failed, so that what the file holds is unknown until it is opened again.
	ErrJournalBroken = errors.New("oscore: journal could not be written")
)

// A journal is two records, written in turn, each of which holds a serial number, the limit and a checksum. They lie so far
// apart that no interrupted write of one touches the other.
const (
	journalMagic   = "oscore\x00\x01"
	journalRecord  = 8 + 8 + 8 + 16
	journalSpacing = 4096
)

// Journal is a Sequence in a file (RFC 8613 appendix B.1.1): one write and one Sync for ReserveBatch messages. However it
// is interrupted, no number is used twice: a record torn by a power cut, or one lost to the medium later, is known by its
// checksum, and costs ReserveBatch numbers. It is safe for concurrent use.
type Journal struct {
	mu     sync.Mutex
	file   JournalFile
	serial uint64 // of the newest record; record n lies in slot n % 2
	limit  uint64
	broken bool
}

// CreateJournal makes f, which holds no journal, that of a new context. The first record is durable when it returns: a
// context whose journal is lost is so told from a new one. The file's directory entry must be made durable by the caller.
func CreateJournal(f JournalFile) (*Journal, error) {
	for slot := range uint64(2) {
		if _, err := readRecord(f, slot); err == nil {
			return nil, ErrJournalExists
		} else if !errors.Is(err, ErrJournal) {
			return nil, err
		}
	}
	j := &Journal{file: f}
	if err := j.write(0); err != nil {
		return nil, err
	}
	return j, nil
}

// OpenJournal goes on with the journal in f, and repairs it if one record is missing. The context is made with
// Options{Sequence: j, Next: j.Next(), WindowLost: true}: what it received before is not in the journal, not even if Next is 0.
func OpenJournal(f JournalFile) (*Journal, error) {
	first, firstErr := readRecord(f, 0)
	second, secondErr := readRecord(f, 1)
	for _, err := range []error{firstErr, secondErr} {
		if err != nil && !errors.Is(err, ErrJournal) {
			return nil, err
		}
	}
	j := &Journal{file: f}
	switch {
	case firstErr != nil && secondErr != nil:
		return nil, ErrJournal
	case firstErr == nil && secondErr == nil:
		newest := first
		if second.serial > first.serial {
			newest = second
		}
		j.serial, j.limit = newest.serial, newest.limit
	default:
		// The other record may never have been written, may be torn, in which case its numbers were never used, or may have been
		// good once and be lost: then the numbers up to its limit are used, and Reserve has let no limit be further away. Writing
		// it again at once keeps that so.
		there := first
		if firstErr != nil {
			there = second
		}
		j.serial, j.limit = there.serial, there.limit
		if err := j.write(there.limit + ReserveBatch); err != nil {
			return nil, err
		}
	}
	return j, nil
}

// Next is the first sender sequence number that has never been used.
func (j *Journal) Next() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.limit
}

// Reserve implements Sequence. A limit that is not above the last is refused, because the numbers below that are used, and so
// is one more than ReserveBatch above it, for a lost record could not be made good. After ErrJournalBroken the journal is of no use until it is opened again.
func (j *Journal) Reserve(limit uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.broken:
		return ErrJournalBroken
	case limit <= j.limit: // the context was made without Next, or it is not the only one
		return fmt.Errorf("oscore: journal: limit %d, but what is below %d is used", limit, j.limit)
	case limit > j.limit+ReserveBatch:
		return fmt.Errorf("oscore: journal: limit %d is more than %d above %d", limit, ReserveBatch, j.limit)
	}
	return j.write(limit)
}

// write puts the next record into the slot that does not hold the newest one.
func (j *Journal) write(limit uint64) error {
	record := encodeRecord(record{j.serial + 1, limit})
	if _, err := j.file.WriteAt(record, offsetOf(j.serial+1)); err != nil {
		j.broken = true
		return fmt.Errorf("%w: %w", ErrJournalBroken, err)
	}
	if err := j.file.Sync(); err != nil {
		j.broken = true // a second Sync may say that all is well and be wrong
		return fmt.Errorf("%w: %w", ErrJournalBroken, err)
	}
	j.serial, j.limit = j.serial+1, limit
	return nil
}

type record struct{ serial, limit uint64 }

func offsetOf(serial uint64) int64 { return int64(serial%2) * journalSpacing }

func encodeRecord(r record) []byte {
	encoded := append(make([]byte, 0, journalRecord), journalMagic...)
	encoded = binary.BigEndian.AppendUint64(encoded, r.serial)
	encoded = binary.BigEndian.AppendUint64(encoded, r.limit)
	sum := sha256.Sum256(encoded)
	return append(encoded, sum[:16]...)
}

// readRecord returns ErrJournal for a slot without a valid record; any other error is the medium's.
func readRecord(f JournalFile, slot uint64) (record, error) {
	encoded := make([]byte, journalRecord)
	if _, err := f.ReadAt(encoded, offsetOf(slot)); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return record{}, ErrJournal
	} else if err != nil {
		return record{}, fmt.Errorf("oscore: read journal: %w", err)
	}
	r := record{
		serial: binary.BigEndian.Uint64(encoded[len(journalMagic):]),
		limit:  binary.BigEndian.Uint64(encoded[len(journalMagic)+8:]),
	}
	if r.serial%2 != slot || r.limit > MaxSequence+1 || !slices.Equal(encoded, encodeRecord(r)) {
		return record{}, ErrJournal
	}
	return r, nil
}
