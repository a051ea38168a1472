# make install, make uninstall, and what is made for them: see install/README.md.
#
# PREFIX is where it will run, DESTDIR goes in front of that while a package is made.
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
DESTDIR ?=

VERSION := $(shell sed -n 's/^.define OPTIONS_VERSION "\([^"]*\)".*/\1/p' src/run/options.h)
SONAME = libmhmoe.so.1
# What an installed corpus.sh and questions.sh run.
HELPERS = austen pages emoji questions
LIBRARY_LIBS = -lsentencepiece -lsentencepiece_train -lpcre2-8 -ljansson -lz -lm

# The library's own objects are taken out of all by what they need of each other, starting from its functions. In the
# archive they are one object, whose other names are local: its users may have an array_alloc or a model_load, too.
$(BUILD)/libparts.a: $(OBJECTS)
	rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/libmhmoe.o: $(BUILD)/library/libmhmoe.o $(BUILD)/libparts.a
	$(LD) -r -o $@ $^
	objcopy --localize-hidden $@
$(BUILD)/libmhmoe.a: $(BUILD)/libmhmoe.o
	rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/$(SONAME): $(BUILD)/library/libmhmoe.o $(BUILD)/libparts.a library/libmhmoe.map
	$(CXX) $(CXXFLAGS) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,--version-script=library/libmhmoe.map \
	  -Wl,--no-undefined -o $@ $(BUILD)/library/libmhmoe.o $(BUILD)/libparts.a $(LIBRARY_LIBS)
library: $(BUILD)/libmhmoe.a $(BUILD)/$(SONAME)

$(BUILD)/mhmoe.pc: library/mhmoe.pc.in install/install.mk FORCE
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(VERSION)|; s|@LIBS@|$(LIBRARY_LIBS)|' $< >$@

# What the programs' own table of options says; around it, in a page, stands prose.
MANUALS = $(BUILD)/train.1 $(BUILD)/sample.1
$(MANUALS): $(BUILD)/%.1: install/%.1.in $(BUILD)/%
	$(BUILD)/$* --help-as man >$(BUILD)/$*.options
	sed -e 's/@VERSION@/$(VERSION)/' -e '/^@OPTIONS@$$/{r $(BUILD)/$*.options' -e 'd}' $< >$@
$(BUILD)/mhmoe-formats.5: install/mhmoe-formats.5.in
	sed -e 's/@VERSION@/$(VERSION)/' $< >$@
SHELLS = bash zsh fish
COMPLETIONS = $(foreach shell,$(SHELLS),$(BUILD)/train.$(shell) $(BUILD)/sample.$(shell))
$(COMPLETIONS): $(BUILD)/%: $(PROGRAMS)
	$(BUILD)/$(basename $*) --help-as $(subst .,,$(suffix $*)) >$@
manuals: $(MANUALS) $(BUILD)/mhmoe-formats.5 $(COMPLETIONS)

# Each level in a folder of its own.
levels: $(LEVELS:%=level-%)
level-%: FORCE
	$(MAKE) ARCH=$* BUILD=$(ABOVE)/$* LEVELS= $(foreach f,train sample $(SONAME),$(ABOVE)/$*/$f)
$(BUILD)/launch: install/launch.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -fno-openmp -o $@ $<

INSTALLED = $(PROGRAMS) $(HELPERS:%=$(BUILD)/%) library manuals $(BUILD)/mhmoe.pc
ifneq ($(LEVELS),)
INSTALLED += levels $(BUILD)/launch
endif
installed: $(INSTALLED)

# Pairs FILE:PLACE below DESTDIR, for install and uninstall alike.
BIN = $(PREFIX)/bin
SHARE = $(PREFIX)/share
LIBEXEC = $(PREFIX)/libexec/mhmoe
ifeq ($(LEVELS),)
EXECUTABLES = $(foreach p,train sample,$(BUILD)/$p:$(BIN)/$p)
LEVEL_LIBRARIES =
else
EXECUTABLES = $(foreach p,train sample,$(BUILD)/launch:$(BIN)/$p $(BUILD)/$p:$(LIBEXEC)/x86-64/$p \
                $(foreach l,$(LEVELS),$(ABOVE)/$l/$p:$(LIBEXEC)/$l/$p))
LEVEL_LIBRARIES = $(foreach l,$(LEVELS),$(ABOVE)/$l/$(SONAME):$(LIBDIR)/glibc-hwcaps/$l/$(SONAME))
endif
EXECUTABLES += $(foreach p,$(HELPERS),$(BUILD)/$p:$(LIBEXEC)/$p)
FILES = data/corpus.sh:$(SHARE)/mhmoe/corpus.sh data/questions.sh:$(SHARE)/mhmoe/questions.sh \
  $(BUILD)/train.1:$(SHARE)/man/man1/train.1 $(BUILD)/sample.1:$(SHARE)/man/man1/sample.1 \
  $(BUILD)/mhmoe-formats.5:$(SHARE)/man/man5/mhmoe-formats.5 \
  $(foreach p,train sample,$(BUILD)/$p.bash:$(SHARE)/bash-completion/completions/$p \
    $(BUILD)/$p.zsh:$(SHARE)/zsh/site-functions/_$p $(BUILD)/$p.fish:$(SHARE)/fish/vendor_completions.d/$p.fish) \
  library/libmhmoe.h:$(PREFIX)/include/libmhmoe.h library/score.c:$(SHARE)/doc/mhmoe/examples/score.c \
  $(BUILD)/libmhmoe.a:$(LIBDIR)/libmhmoe.a $(BUILD)/$(SONAME):$(LIBDIR)/$(SONAME) \
  $(BUILD)/mhmoe.pc:$(LIBDIR)/pkgconfig/mhmoe.pc $(LEVEL_LIBRARIES)
put = install -D -m $(1) '$(word 1,$(subst :, ,$(2)))' '$(DESTDIR)$(word 2,$(subst :, ,$(2)))'
place = '$(DESTDIR)$(word 2,$(subst :, ,$(1)))'
define newline


endef

# A package's tools refresh the list of libraries themselves; elsewhere it is done where there is the right to.
install: installed
	$(foreach f,$(EXECUTABLES),$(call put,755,$f)$(newline)	)
	$(foreach f,$(FILES),$(call put,644,$f)$(newline)	)
	ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libmhmoe.so'
	@[ -n '$(DESTDIR)' ] || [ "$$(id -u)" -ne 0 ] || ldconfig

uninstall:
	rm -f $(foreach f,$(EXECUTABLES) $(FILES),$(call place,$f)) '$(DESTDIR)$(LIBDIR)/libmhmoe.so'
	-rmdir $(foreach d,$(LIBEXEC)/x86-64 $(LEVELS:%=$(LIBEXEC)/%) $(LIBEXEC) $(SHARE)/mhmoe $(SHARE)/doc/mhmoe/examples \
	  $(SHARE)/doc/mhmoe,'$(DESTDIR)$d') 2>/dev/null

FORCE:
.PHONY: install uninstall installed library manuals levels FORCE
