/* SentencePiece behind tokenizer.h (and, for models of other programs, byte_level.h). What it adds is exactness:
 * SentencePiece alone is lossy.
 *
 * Text is cut into spans that the BPE model carries exactly: valid UTF-8 without NUL and without the two
 * characters SentencePiece uses itself (U+2581 stands for a space, U+2585 for the unknown). All other bytes
 * become byte pieces. A span ends behind a run of newlines or, in a long line, before a space: no piece
 * reaches over either place, so the cuts change nothing but the speed (short spans encode 3x faster).
 * The newline is an ordinary character: pieces such as ".\n\n" save 2.5% of the tokens of Jane Austen (at
 * 4096 pieces) over a byte piece for each newline. Training reads the same spans, and cuts Chinese, Japanese and
 * other text without spaces further: RarePairs says where, and why that costs nothing. */
extern "C" {
#include "../src/run/checkpoint.h"
#include "../src/base/progress.h"
#include "../src/base/util.h"
}
#include "byte_level.h"
#include "tokenizer.h"

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <streambuf>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>
#include <unistd.h>

struct tokenizer {
    std::unique_ptr<byte_level, decltype(&byte_level_free)> bytes{nullptr, byte_level_free}; /* or: */
    sentencepiece::SentencePieceProcessor processor;
    std::string model;
    std::vector<std::string> pieces; /* (vocab) the bytes each id stands for */
    int32_t byte_ids[256];
    int32_t end_of_text;
};

namespace {

constexpr size_t SPAN_BYTES = 2048;
constexpr int RESERVED = 2 + 256;           /* unknown, end of text, bytes */
constexpr int KEPT_PAIRS = 4096;            /* at least so many kinds of pairs stay together; English has some 3000 */
const std::string SPACE = "\xe2\x96\x81";   /* U+2581 */
const std::string UNKNOWN = "\xe2\x96\x85"; /* U+2585 */

/* Bytes of the UTF-8 character (RFC 3629) at the start of text, or 0 if it has to go as byte pieces. */
size_t char_length(const char *text, size_t size) {
    const auto *b = reinterpret_cast<const unsigned char *>(text);
    if (b[0] < 0x80) return b[0] != 0;
    const size_t n = b[0] < 0xc2 ? 0 : b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : b[0] < 0xf5 ? 4 : 0;
    if (n == 0 || n > size) return 0;
    for (size_t i = 1; i < n; i++)
        if ((b[i] & 0xc0) != 0x80) return 0;
    const bool overlong = (b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xf0 && b[1] < 0x90);
    const bool surrogate = b[0] == 0xed && b[1] >= 0xa0;
    const bool too_high = b[0] == 0xf4 && b[1] >= 0x90;
    const bool reserved =
        n == 3 && (SPACE.compare(0, 3, text, 3) == 0 || UNKNOWN.compare(0, 3, text, 3) == 0);
    return overlong || surrogate || too_high || reserved ? 0 : n;
}

/* Bytes of the span at the start of text; 0 if the first byte has to go as a byte piece. */
size_t span_length(const char *text, size_t size) {
    size_t n = 0, space = 0;
    while (n < size && n < SPAN_BYTES) {
        if (n > 0 && text[n - 1] == '\n' && text[n] != '\n') return n;
        if (n > 0 && text[n - 1] != ' ' && text[n] == ' ') space = n;
        const size_t length = char_length(text + n, size - n);
        if (length == 0) return n;
        n += length;
    }
    return n < size && space > 0 ? space : n;
}

/* The code point of a character of n bytes. */
uint32_t code_point(const char *text, size_t n) {
    const auto *b = reinterpret_cast<const unsigned char *>(text);
    uint32_t c = n == 1 ? b[0] : b[0] & (0x7f >> n);
    for (size_t i = 1; i < n; i++) c = c << 6 | (b[i] & 0x3f);
    return c;
}

/* Whether its script is written without spaces between words. */
bool is_spaceless(uint32_t c) {
    static const uint32_t blocks[][2] = {
        {0x0e00, 0x109f},   /* Thai, Lao, Tibetan, Myanmar */
        {0x1780, 0x17ff},   /* Khmer */
        {0x2e80, 0x9fff},   /* Han, kana, their punctuation */
        {0xf900, 0xfaff},   /* more Han */
        {0xff00, 0xffef},   /* fullwidth punctuation, halfwidth kana */
        {0x20000, 0x3ffff}, /* more Han */
    };
    for (const auto &block : blocks)
        if (c >= block[0] && c <= block[1]) return true;
    return false;
}

/* Where text without spaces may be cut for training. SentencePiece takes what stands between spaces for a word and
 * counts equal words once. Such text has whole lines for words, hardly two of them equal, and in them more pairs of
 * symbols than English by far, most of which occur once: it took 7 times as long a byte.
 *
 * A piece that reaches over the place between two characters is no more frequent than these two side by side. So to
 * cut the text at pairs that are rarer than all pieces changes no piece, as with 4096 of them from 0.9 MB of text.
 * Where there is little text for many pieces, rare ones change: with 8192, text that was not seen takes 1.5% more
 * tokens. */
class RarePairs {
public:
    void Count(std::string_view span) {
        ForEach(span, [&](uint64_t pair, size_t) { return ++counts_[pair], true; });
    }

    /* All pairs but the `kept` most frequent ones, and those as frequent as the last of them, are rare. */
    void Settle(size_t kept) {
        std::vector<uint32_t> counts;
        for (const auto &pair : counts_) counts.push_back(pair.second);
        if (counts.size() <= kept) return;
        std::nth_element(counts.begin(), counts.begin() + kept, counts.end(), std::greater<uint32_t>());
        least_ = counts[kept];
    }

    bool any() const { return least_ > 1; }

    /* Bytes of the span before the first place between two characters that are a rare pair. */
    size_t Cut(std::string_view span) const {
        size_t cut = span.size();
        if (!any()) return cut;
        ForEach(span, [&](uint64_t pair, size_t at) {
            if (counts_.at(pair) >= least_) return true;
            cut = at;
            return false;
        });
        return cut;
    }

private:
    /* Calls visit(pair, place between the two) for each pair that has a character of a script without spaces, until
     * it returns false. */
    template <typename F>
    static void ForEach(std::string_view span, F visit) {
        uint32_t last = 0;
        for (size_t at = 0, n; at < span.size(); at += n) {
            n = char_length(span.data() + at, span.size() - at);
            const uint32_t c = code_point(span.data() + at, n);
            const bool counts = at > 0 && (is_spaceless(last) || is_spaceless(c));
            if (counts && !visit(static_cast<uint64_t>(last) << 32 | c, at)) return;
            last = c;
        }
    }

    std::unordered_map<uint64_t, uint32_t> counts_;
    uint32_t least_ = 0;
};

/* Feeds the trainer with the spans of a text, cut at the rare pairs. */
class SpanIterator : public sentencepiece::SentenceIterator {
public:
    SpanIterator(const std::vector<std::string> &stretches, const RarePairs &rare)
        : stretches_(stretches), rare_(rare) {
        Next();
    }
    bool done() const override { return i_ == stretches_.size(); }
    const std::string &value() const override { return piece_; }
    sentencepiece::util::Status status() const override { return {}; }

    void Next() override {
        while (span_.empty() && !done()) {
            const std::string_view rest = std::string_view(stretches_[i_]).substr(at_);
            span_ = rest.substr(0, rest.empty() ? 0 : span_length(rest.data(), rest.size()));
            at_ += std::max<size_t>(span_.size(), 1);
            if (rest.empty()) i_++, at_ = 0;
        }
        const size_t length = rare_.Cut(span_);
        piece_.assign(span_.substr(0, length));
        span_.remove_prefix(length);
    }

private:
    const std::vector<std::string> &stretches_;
    const RarePairs &rare_;
    size_t i_ = 0, at_ = 0;
    std::string_view span_;
    std::string piece_;
};

std::unordered_map<std::string, std::string> trainer_options(int vocab, bool progress) {
    return {
        {"model_type", "bpe"},
        {"vocab_size", std::to_string(vocab)},
        {"normalization_rule_name", "identity"},
        {"add_dummy_prefix", "false"},
        {"remove_extra_whitespaces", "false"},
        {"byte_fallback", "true"},
        {"character_coverage", "0.9995"},
        {"split_digits", "true"}, /* numbers digit by digit: better arithmetic, no odd pieces */
        {"allow_whitespace_only_pieces", "true"},                /* indentation in one piece */
        {"max_sentence_length", std::to_string(2 * SPAN_BYTES)}, /* longer ones would be skipped: none is */
        {"unk_id", "0"},
        {"eos_id", "1"},
        {"bos_id", "-1"},
        {"pad_id", "-1"},
        {"num_threads", "1"},
        {"minloglevel", progress ? "0" : "3"},
    };
}

/* How far training is: SentencePiece tells it in nothing but its log, so this stands in for std::cerr, to which that
 * goes, and makes a line for a terminal of it. */
class ProgressLine : public std::streambuf {
public:
    explicit ProgressLine(int vocab) : pieces_(vocab - RESERVED), cerr_(std::cerr.rdbuf(this)) {}
    ~ProgressLine() override {
        std::cerr.rdbuf(cerr_);
        bar_clear();
    }

protected:
    int overflow(int c) override {
        if (c != '\n') line_ += static_cast<char>(c);
        else Show();
        return c;
    }

private:
    /* The characters come last, all at once: the rest are merges. A check that failed is passed on. */
    void Show() {
        int n = 0;
        const char *added = strstr(line_.c_str(), " Added: freq="), *size = added ? strstr(added, " size=") : nullptr;
        const char *characters = strstr(line_.c_str(), " Alphabet size=");
        if (characters && sscanf(characters, " Alphabet size=%d", &n) == 1) pieces_ -= n;
        else if (size && sscanf(size, " size=%d", &n) == 1)
            bar_show("tokenizer", n, pieces_, &shown_);
        else if (line_.find(") [") != line_.npos) fprintf(stderr, "%s\n", line_.c_str());
        line_.clear();
    }

    int pieces_, shown_ = -1;
    std::streambuf *cerr_;
    std::string line_;
};

/* SentencePiece's message, which holds the bound, as ours. */
bool training_error(const char *message, int vocab, int *nearest, struct error *err) {
    const char *high = strstr(message, "Vocabulary size too high");
    const char *low = strstr(message, "Vocabulary size is smaller");
    if (high && sscanf(high, "Vocabulary size too high (%*d). Please set it to a value <= %d", nearest) == 1)
        return tokenizer_too_large(vocab, *nearest, err);
    if (low && sscanf(low, "Vocabulary size is smaller than required_chars. %*d vs %d", nearest) == 1)
        return tokenizer_too_small(vocab, *nearest, err);
    return error_set(err, EXIT_INPUT, "tokenizer: cannot train on this text: %s", message);
}

/* With fewer than the reserved pieces SentencePiece would refuse before it knows the least possible. */
sentencepiece::util::Status spans_train(SpanIterator spans, int vocab, bool progress, std::string *model) {
    std::unique_ptr<ProgressLine> line;
    if (progress && isatty(STDERR_FILENO)) line = std::make_unique<ProgressLine>(vocab);
    const auto options = trainer_options(std::max(vocab, RESERVED), line != nullptr);
    return sentencepiece::SentencePieceTrainer::Train(options, &spans, model);
}

/* A field of a protocol buffer message: a number in `value`, or a block in `bytes`. */
struct field {
    uint64_t number, value;
    std::string_view bytes;
};

bool varint_take(std::string_view *rest, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 64 && !rest->empty(); shift += 7) {
        const unsigned char byte = rest->front();
        rest->remove_prefix(1);
        *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
        if (byte < 0x80) return true;
    }
    return false;
}

bool field_take(std::string_view *rest, struct field *field) {
    uint64_t key, size;
    if (!varint_take(rest, &key)) return false;
    field->number = key >> 3;
    const unsigned wire = key & 7;
    if (wire == 0) return varint_take(rest, &field->value);
    if (wire == 1) size = 8;
    else if (wire == 5) size = 4;
    else if (wire != 2 || !varint_take(rest, &size)) return false;
    if (size > rest->size()) return false;
    field->bytes = rest->substr(0, size);
    rest->remove_prefix(size);
    return true;
}

/* The field of that number, `absent` if there is none. False if the message is damaged or has two of them. */
bool field_find(std::string_view message, uint64_t number, struct field absent, struct field *found) {
    *found = absent;
    for (int seen = 0; !message.empty();) {
        struct field field = {};
        if (!field_take(&message, &field) || (field.number == number && seen++)) return false;
        if (field.number == number) *found = field;
    }
    return true;
}

/* NULL if the model encodes exactly what it is given, else what is wrong. The library does not install the
 * header of its message, so the numbers are those of sentencepiece_model.proto. */
const char *model_problem(std::string_view model) {
    struct field trainer, normalizer, type, fallback, rules, prefix, whitespace, escape;
    if (!field_find(model, 2, {}, &trainer) || !field_find(model, 3, {}, &normalizer) ||
        !field_find(trainer.bytes, 3, {3, 1, {}}, &type) || !field_find(trainer.bytes, 35, {}, &fallback) ||
        !field_find(normalizer.bytes, 2, {}, &rules) ||
        !field_find(normalizer.bytes, 3, {3, 1, {}}, &prefix) ||
        !field_find(normalizer.bytes, 4, {4, 1, {}}, &whitespace) ||
        !field_find(normalizer.bytes, 5, {5, 1, {}}, &escape)) {
        return "not a SentencePiece model, or damaged";
    }
    if (type.value != 2) return "is not a BPE model";
    if (!fallback.value) return "has no byte fallback";
    if (!rules.bytes.empty()) return "normalizes its text (want identity)";
    if (prefix.value) return "adds a dummy prefix";
    if (whitespace.value || !escape.value) return "does not keep whitespace";
    return nullptr;
}

std::string byte_name(int byte) {
    char name[8];
    snprintf(name, sizeof name, "<0x%02X>", byte);
    return name;
}

/* Fills the tables of a tokenizer whose processor is loaded; false if pieces are missing. */
bool tables_fill(struct tokenizer *t) {
    const auto &p = t->processor;
    t->end_of_text = p.eos_id();
    if (t->end_of_text < 0 || !p.IsControl(t->end_of_text)) return false;
    t->pieces.resize(p.GetPieceSize());
    for (int id = 0; id < p.GetPieceSize(); id++) {
        if (p.IsControl(id) || p.IsUnknown(id) || p.IsByte(id)) continue;
        std::string &piece = t->pieces[id] = p.IdToPiece(id);
        for (size_t at = 0; (at = piece.find(SPACE, at)) != piece.npos; at++) piece.replace(at, SPACE.size(), " ");
    }
    for (int byte = 0; byte < 256; byte++) {
        const int id = t->byte_ids[byte] = p.PieceToId(byte_name(byte));
        if (!p.IsByte(id)) return false;
        t->pieces[id].assign(1, static_cast<char>(byte));
    }
    return true;
}

/* The same of a byte-level one; what is wrong with it, or NULL. */
const char *byte_level_load(struct tokenizer *t, std::string_view model, char room[256]) {
    const char *problem;
    t->bytes.reset(byte_level_create(model.data(), model.size(), room, &problem));
    if (problem) return problem;
    t->end_of_text = byte_level_end_of_text(t->bytes.get());
    for (int id = 0; id < byte_level_vocab(t->bytes.get()); id++) {
        size_t size;
        const char *bytes = byte_level_piece(t->bytes.get(), id, &size);
        t->pieces.emplace_back(bytes, size);
    }
    return nullptr;
}

const char *sentencepiece_load(struct tokenizer *t, std::string_view model) {
    if (const char *problem = model_problem(model)) return problem;
    if (!t->processor.LoadFromSerializedProto(model).ok()) return "not a valid model";
    return tables_fill(t) ? nullptr : "lacks the end-of-text piece or byte pieces";
}

/* The ids of a span, or of one byte that no span can hold. */
bool span_encode(const struct tokenizer *t, std::string_view text, std::vector<int> *ids) {
    if (span_length(text.data(), text.size()) > 0 && t->processor.Encode(text, ids).ok()) return true;
    ids->clear();
    for (const unsigned char byte : text) ids->push_back(t->byte_ids[byte]);
    return true;
}

/* Runs a function so that no C++ exception reaches C. Only memory can run out. */
template <typename F>
auto guarded(F function) {
    try {
        return function();
    } catch (const std::exception &e) {
        struct error err;
        error_set(&err, EXIT_MEMORY, "tokenizer: out of memory (%s)", e.what());
        error_exit(&err);
    }
}

} // namespace

bool tokenizer_too_large(int vocab, int most, struct error *err) {
    return error_set(err, EXIT_USAGE,
                     "tokenizer: this text does not support so large a vocabulary (got %d, want at most %d); "
                     "lower --vocab or add text", vocab, most);
}

bool tokenizer_too_small(int vocab, int least, struct error *err) {
    return error_set(err, EXIT_USAGE,
                     "tokenizer: the vocabulary is too small for the characters of this text (got %d, want at "
                     "least %d); raise --vocab", vocab, least);
}

tokenizer *tokenizer_train(tokenizer_source next_text, void *context, int vocab, bool progress, int *nearest,
                           struct error *err) {
    int unused;
    if (!nearest) nearest = &unused;
    *nearest = 0;
    return guarded([&]() -> tokenizer * {
        std::vector<std::string> text;
        size_t size;
        while (const char *stretch = next_text(context, &size)) text.emplace_back(stretch, size);
        const RarePairs none;
        RarePairs rare;
        const SpanIterator whole(text, none);
        if (whole.done()) {
            error_set(err, EXIT_INPUT, "tokenizer: there is no text to train on; name a file with text");
            return nullptr;
        }
        for (SpanIterator spans = whole; !spans.done(); spans.Next()) rare.Count(spans.value());
        rare.Settle(std::max(vocab / 2, KEPT_PAIRS));
        std::string model;
        auto status = spans_train(SpanIterator(text, rare), vocab, progress, &model);
        /* The bounds are those of the whole text. */
        if (!status.ok() && rare.any()) status = spans_train(whole, vocab, progress, &model);
        if (!status.ok()) {
            training_error(status.message(), vocab, nearest, err);
            return nullptr;
        }
        if (vocab < RESERVED) {
            error_set(err, EXIT_USAGE,
                      "tokenizer: the vocabulary is too small (got %d, want at least %d); raise --vocab",
                      vocab, RESERVED);
            return nullptr;
        }
        return tokenizer_from_memory(model.data(), model.size(), "the trained tokenizer", err);
    });
}

tokenizer *tokenizer_from_memory(const void *model, size_t size, const char *name, struct error *err) {
    return guarded([&]() -> tokenizer * {
        const std::string_view bytes(static_cast<const char *>(model), size);
        auto t = std::make_unique<tokenizer>();
        char room[256];
        const bool json = !bytes.empty() && bytes[0] == '{'; /* SentencePiece's begins with a field's number */
        const char *problem = json ? byte_level_load(t.get(), bytes, room) : sentencepiece_load(t.get(), bytes);
        if (problem) {
            error_set(err, EXIT_INPUT, "%s: tokenizer: %s; want %s", name, problem,
                      json ? "one as GPT-2's" : "one that train made");
            return nullptr;
        }
        t->model = bytes;
        return t.release();
    });
}

tokenizer *tokenizer_from_checkpoint(const struct checkpoint *c, struct error *err) {
    size_t size;
    void *model = checkpoint_copy(c, "tokenizer.model", &size, err);
    tokenizer *t = model ? tokenizer_from_memory(model, size, c->path, err) : nullptr;
    free(model);
    return t;
}

tokenizer *tokenizer_load(const char *path, struct error *err) {
    FILE *file = fopen(path, "rb");
    std::string model;
    char buffer[1 << 16];
    bool ok = file != nullptr;
    for (size_t n; ok && (n = fread(buffer, 1, sizeof buffer, file)) > 0;)
        guarded([&] { return model.append(buffer, n).size(); });
    if (!ok || ferror(file)) {
        error_set(err, EXIT_INPUT, "%s: cannot read this tokenizer: %s", path, strerror(errno));
        ok = false;
    }
    if (file) fclose(file);
    return ok ? tokenizer_from_memory(model.data(), model.size(), path, err) : nullptr;
}

bool tokenizer_save(const tokenizer *t, const char *path, struct error *err) {
    struct atomic_file file;
    if (!atomic_open(&file, path, err)) return false;
    fwrite(t->model.data(), 1, t->model.size(), file.file);
    return atomic_commit(&file, err);
}

void tokenizer_free(tokenizer *t) {
    delete t;
}

const void *tokenizer_model(const tokenizer *t, size_t *size) {
    *size = t->model.size();
    return t->model.data();
}

uint64_t tokenizer_hash(const tokenizer *t) {
    return hash_bytes(HASH_START, t->model.data(), t->model.size());
}

int tokenizer_vocab(const tokenizer *t) {
    return static_cast<int>(t->pieces.size());
}

bool tokenizer_fits(const tokenizer *t, int vocab, const char *path, struct error *err) {
    return tokenizer_vocab(t) == vocab ||
           error_set(err, EXIT_MISMATCH, "%s: tokenizer of %d pieces, model of %d; the file was put together wrongly",
                     path, tokenizer_vocab(t), vocab);
}

int tokenizer_least(const tokenizer *t) {
    int least = RESERVED;
    if (t->bytes) return 1 + 256;
    for (int id = 0; id < tokenizer_vocab(t); id++) {
        const std::string &piece = t->pieces[id];
        least += !piece.empty() && !t->processor.IsByte(id) && char_length(piece.data(), piece.size()) == piece.size();
    }
    return least;
}

int32_t tokenizer_end_of_text(const tokenizer *t) {
    return t->end_of_text;
}

void tokenizer_encode(const tokenizer *t, const char *text, size_t size, int32_t **ids, size_t *count,
                      size_t *capacity) {
    std::vector<int> span;
    if (t->bytes) return byte_level_encode(t->bytes.get(), text, size, ids, count, capacity);
    for (size_t at = 0; at < size;) {
        const size_t length = std::max<size_t>(span_length(text + at, size - at), 1);
        guarded([&] { return span_encode(t, std::string_view(text + at, length), &span); });
        *ids = static_cast<int32_t *>(array_grow(*ids, capacity, *count + span.size(), sizeof **ids));
        std::copy(span.begin(), span.end(), *ids + *count);
        *count += span.size();
        at += length;
    }
}

const char *tokenizer_piece(const tokenizer *t, int32_t id, size_t *size) {
    if (id < 0 || id >= tokenizer_vocab(t)) {
        *size = 0;
        return "";
    }
    *size = t->pieces[id].size();
    return t->pieces[id].data();
}

enum tokenizer_kind tokenizer_kind(const tokenizer *t) {
    return t->bytes ? TOKENIZER_BYTE_LEVEL : TOKENIZER_SENTENCEPIECE;
}

struct piece tokenizer_entry(const tokenizer *t, int32_t id) {
    if (t->bytes)
        return {byte_level_text(t->bytes.get(), id), 0, t->pieces[id].empty() ? PIECE_CONTROL : PIECE_NORMAL};
    const auto &p = t->processor;
    const enum piece_kind kind = p.IsControl(id)   ? PIECE_CONTROL
                                 : p.IsUnknown(id) ? PIECE_UNKNOWN
                                 : p.IsByte(id)    ? PIECE_BYTE
                                                   : PIECE_NORMAL;
    return {p.IdToPiece(id).c_str(), p.GetScore(id), kind};
}
