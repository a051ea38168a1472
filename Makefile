# make            ./train and ./sample
# make demo       the whole way: corpus, tokenizer, training, plots, samples (about 4 minutes)
# make demo-images  the same for pictures: a model that captions emoji, finds them and fills them in (about 4 minutes)
# make test       every test (TESTS="gemm layer": only those)
# make check-documents  runs every command of README and docs, with a small text and few steps (a minute)
# make check-readers  has llama.cpp, tokenizers.js and PyTorch read what ./sample --export writes (a minute)
# make lesson     the MH-MoE layer on one token, forward and backward, in numbers to follow by hand
# make compare    MH-MoE against its baselines at equal cost (5 minutes; ARGS="--minutes 480 ...": see --help)
# make install    programs, manual pages, completions and libmhmoe below PREFIX=/usr/local (DESTDIR=, LEVELS=: install/README.md)
# make analyse    build/analyse, which measures how trained models use their experts
# make gallery    build/gallery, which measures what masked models make of pictures and captions
# make bench      measures this machine, then the program on it; bench-torch: in turn with PyTorch
#
# ARCH=native|x86-64-v3|x86-64|... chooses the target, SANITIZE=1 adds ASan and UBSan, BUILD= the folder.

CC ?= cc
CXX ?= c++
ARCH ?= native
BUILD ?= build
# make install LEVELS="x86-64-v3 x86-64-v4": for every x86-64, and once more for each of these, one folder each.
ABOVE := $(BUILD)
ifneq ($(LEVELS),)
override ARCH := x86-64
override BUILD := $(ABOVE)/x86-64
endif
WARN = -Wall -Wextra -Werror
# -fno-math-errno: nobody reads errno after sqrt, and a loop that might set it is not vectorised.
# -fPIC: the same objects make the library, which exports what library/libmhmoe.h names and nothing else.
FLAGS = -O3 -g -march=$(ARCH) -fno-math-errno -fopenmp -fPIC -fvisibility=hidden -MMD -MP -D_GNU_SOURCE $(WARN)
ifdef SANITIZE
FLAGS += -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
endif
CFLAGS += -std=gnu11 $(FLAGS)
CXXFLAGS += -std=gnu++17 $(FLAGS)
LDLIBS = -lsentencepiece_train -lsentencepiece -lpcre2-8 -ljansson -lpng -lz -lm
LINK = $(CXX) $(CXXFLAGS) $(LDFLAGS) -o $@ $^

# What is in data/ but is a program of its own, or part of one.
CORPORA = austen emoji maker pages passages questions wordnet
PARTS = mhmoe.c masked.c scoring.c writing.c $(filter-out src/run/lines.c,$(wildcard src/*/*.c)) \
        $(wildcard tokenizer/*.c foreign/*.c) $(filter-out $(CORPORA:%=data/%.c),$(wildcard data/*.c))
OBJECTS = $(PARTS:%.c=$(BUILD)/%.o) $(BUILD)/tokenizer/spm.o $(BUILD)/foreign/modeling_mhmoe.o
# The same sources in double: what the gradient tests link.
DOUBLES = $(PARTS:%.c=$(BUILD)/double/%.o) $(BUILD)/tokenizer/spm.o $(BUILD)/foreign/modeling_mhmoe.o

TESTS = $(patsubst tests/test_%.c,%,$(wildcard tests/test_*.c))
IN_DOUBLE = kernels attention position inputs scorer ffn router layer model masked muon
PROGRAMS = $(BUILD)/train $(BUILD)/sample
# What the programs that study models are made of, beside OBJECTS.
PAGES = $(patsubst %,$(BUILD)/tests/study/%.o,analyse_page analyse_parts dependence numbers operands routing)
ANALYSE = $(sort $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/study/analyse*.c) data/wordnet.c) $(PAGES))
GALLERY = $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/study/gallery*.c)) $(PAGES)
COMPARE = $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/study/compare*.c))

all: train sample
train sample: %: $(BUILD)/%
	cp -f $< $@

# What only ./train is made of.
TRAINER = $(patsubst %.c,$(BUILD)/%.o,$(wildcard trainer/*.c))

$(PROGRAMS): $(BUILD)/%: $(BUILD)/%.o $(OBJECTS)
	$(LINK) $(LDLIBS)
$(BUILD)/train: $(TRAINER)
# Lines are read by ./sample alone.
$(BUILD)/sample: $(BUILD)/src/run/lines.o
$(BUILD)/sample: LDLIBS += -ledit
# The modelling file that an export brings along: as a string in the program, which then needs no file beside it.
$(BUILD)/foreign/modeling_mhmoe.c: foreign/modeling_mhmoe.py Makefile
	@mkdir -p $(@D)
	{ echo '#include "foreign/modeling.h"'; echo 'const char modeling_mhmoe[] = {'; \
	  od -An -v -tx1 $< | sed 's/[0-9a-f][0-9a-f]/0x&,/g'; echo '0};'; } >$@
$(BUILD)/foreign/modeling_mhmoe.o: $(BUILD)/foreign/modeling_mhmoe.c
	$(CC) $(CFLAGS) -I. -c -o $@ $<

$(BUILD)/austen: $(BUILD)/data/austen.o $(BUILD)/src/base/util.o
	$(LINK) -lz
$(BUILD)/data/pages.o: CFLAGS += $(shell xml2-config --cflags)
$(BUILD)/pages: $(BUILD)/data/pages.o $(BUILD)/src/base/util.o
	$(LINK) -lxml2
$(BUILD)/emoji: $(BUILD)/data/emoji.o $(BUILD)/src/base/util.o
	$(LINK) -ljansson
# What data/questions.sh runs.
QUESTIONS = $(patsubst %,$(BUILD)/%.o,data/questions data/passages data/maker data/wordnet src/run/options \
              src/run/option_pages src/base/rng src/base/text src/base/util)
$(BUILD)/questions: $(QUESTIONS)
	$(LINK) -ljansson -lm

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c -o $@ $<
$(BUILD)/%.o: %.cc Makefile
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -c -o $@ $<
$(BUILD)/double/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DREAL_DOUBLE -c -o $@ $<

$(IN_DOUBLE:%=$(BUILD)/test_%): $(BUILD)/test_%: $(BUILD)/double/tests/test_%.o $(DOUBLES)
	$(LINK) -lcmocka $(LDLIBS)
$(BUILD)/test_%: $(BUILD)/tests/test_%.o $(OBJECTS)
	$(LINK) -lcmocka $(LDLIBS)

# Memory that is compared must be there; and tiles, which any machine then has.
ifdef SANITIZE
$(BUILD)/src/math/gemm_amx.o: CFLAGS += -O3 -include tests/tiles_emulated.h
$(BUILD)/tests/test_gemm_bf16.o: CFLAGS += -DTILES_EMULATED
$(TESTS:%=$(BUILD)/test_%): $(BUILD)/tests/compared.o
$(TESTS:%=$(BUILD)/test_%): LINK += -Wl,--wrap=_assert_memory_equal -Wl,--wrap=_assert_memory_not_equal
endif

# It watches what a file goes through on its way to the disk, and refuses threads.
$(BUILD)/test_util: LINK += -Wl,--wrap=fsync -Wl,--wrap=rename -Wl,--wrap=pthread_create -Wl,--wrap=pthread_join
$(BUILD)/test_measure $(BUILD)/test_dependence: $(filter-out %/analyse.o,$(ANALYSE))
$(BUILD)/test_compare $(BUILD)/test_compare_report $(BUILD)/test_compare_study: $(filter-out %/compare.o,$(COMPARE))
$(BUILD)/test_gallery $(BUILD)/test_gallery_numbers: $(filter-out %/gallery.o,$(GALLERY))
$(BUILD)/test_routing: $(BUILD)/tests/study/routing.o
$(BUILD)/test_wordnet: $(BUILD)/data/wordnet.o
$(BUILD)/test_library: $(BUILD)/library/libmhmoe.o
# It counts the products that a forward pass executes.
$(BUILD)/test_parity: LINK += -Wl,--wrap=gemm_run -Wl,--wrap=gemm_serial
# It has the calls fail by which files are written.
comma = ,
$(BUILD)/test_cache: LINK += $(addprefix -Wl$(comma)--wrap=,chmod fflush fopen fseek fsync fwrite mkdtemp rename rewind \
                               shard_create)

# It has writes fail, and sees what is trained on and how much is held.
$(BUILD)/test_album_prepare: LINK += $(addprefix -Wl$(comma)--wrap=,album_append album_create album_finish array_alloc \
                                       codebook_save tokenizer_save tokenizer_train)

# It has albums in memory, and counts what memory is asked for.
$(BUILD)/test_examples: LINK += $(addprefix -Wl$(comma)--wrap=,album_open album_close album_records album_size \
                                  album_patch album_vocab album_read realloc posix_memalign)

# It watches what a reader of pictures allocates.
$(BUILD)/test_pictures: LINK += -Wl,--wrap=array_alloc

# What PREFIX/bin/train is where there are LEVELS.
$(BUILD)/test_install: | $(BUILD)/launch

# Terminals of its own.
$(BUILD)/test_terminal: LDLIBS += -lutil

# Locks that fail, or are exchanged by another process.
$(BUILD)/test_rundir: LINK += -Wl,--wrap=flock

test: $(PROGRAMS) $(BUILD)/pages $(BUILD)/emoji $(BUILD)/analyse $(BUILD)/compare $(BUILD)/gallery $(BUILD)/questions \
      $(BUILD)/lesson $(TESTS:%=$(BUILD)/test_%)
	sh tests/layout.sh
	BUILD=$(BUILD) sh tests/run.sh $(TESTS:%=$(BUILD)/test_%)

check-documents: all
	BUILD=$(BUILD) bash tests/documents.sh

# ./train's defaults on its default corpus; where that cannot be had, the text in this repository will do.
demo: all $(BUILD)/austen
	@if sh data/corpus.sh austen; then ./train; else \
	  echo "demo: training on this repository's own text instead"; \
	  ./train --vocab 1024 docs README.md src data/*.[ch] tokenizer tests/*.[ch] *.[ch]; fi
	./sample --samples 3 --tokens 80 --prompt "It is a truth universally acknowledged, that"

# A masked model of emoji and their English names, and a page of what it makes of those that it has not seen.
demo-images: all $(BUILD)/emoji $(BUILD)/gallery
	sh data/corpus.sh emoji
	./train --task masked --languages en --vocab 1024 --seq 88 --hide-caption 0.7 --batch 16 --steps 5000 \
	  --optimizer adamw data/corpora/emoji
	$(BUILD)/gallery runs/emoji --pictures 60 --out runs/emoji/gallery

$(BUILD)/compare: $(COMPARE) $(OBJECTS)
	$(LINK) $(LDLIBS)
compare: all $(BUILD)/compare $(BUILD)/austen
	$(BUILD)/compare $(ARGS)

$(BUILD)/analyse: $(ANALYSE) $(OBJECTS)
	$(LINK) $(LDLIBS)
analyse: $(BUILD)/analyse

$(BUILD)/gallery: $(GALLERY) $(OBJECTS)
	$(LINK) $(LDLIBS)
gallery: $(BUILD)/gallery

$(BUILD)/bench: $(BUILD)/tests/bench/bench.o $(OBJECTS)
	$(LINK) $(LDLIBS)
bench: $(BUILD)/bench
	$(BUILD)/bench

# In turn with PyTorch (apt: python3-torch libopenblas0-openmp). Debian's package is for Debian's python, which may not
# be the first on the path; PYTHON=python3 measures another PyTorch, BUILD= and ARCH= another build of ours.
PYTHON ?= /usr/bin/python3
bench-torch: $(BUILD)/bench
	$(PYTHON) tests/bench/torch_bench.py --bench $(BUILD)/bench

# What other programs make of an export: llama.cpp and tokenizers.js from npm, then transformers or PyTorch alone.
check-readers: all
	sh tests/readers/node.sh $(BUILD)
	rm -rf $(BUILD)/models && sh tests/readers/models.sh $(BUILD) $(BUILD)/models
	$(PYTHON) tests/readers/transformers_check.py $(BUILD)/models

# It includes mhmoe.c, whose arrays it shows.
$(BUILD)/lesson: $(BUILD)/docs/lesson.o $(filter-out $(BUILD)/mhmoe.o,$(OBJECTS))
	$(LINK) $(LDLIBS)
lesson: $(BUILD)/lesson
	@$(BUILD)/lesson

include install/install.mk

clean:
	rm -rf $(BUILD) train sample

.PHONY: all test check-documents check-readers demo demo-images compare analyse gallery lesson bench bench-torch clean
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
