# pose_topo: every step of the study as a file. `make` alone prints help.
#
# The graph: data -> run (checkpoint) -> evaluation.json, analysis.json -> figures and tables -> verdict.
# `demo` and `all` are the same graph; they differ only in the variables below.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# ---- what to run (override on the command line: make all ARCHS=resnet18 SEEDS="0 1") ----
PYTHON   ?= python3
TORCH    ?= lock#            lock: as locked; cpu: the CPU wheels of PyTorch's own index
DATA     ?= mpii#            folder of the data set
PROTOCOL ?= standard#        standard, paper or demo
ARCHS    ?= resnet18 resnet34 resnet50
ARMS     ?= baseline control topo
SEEDS    ?= 0 1 2 3 4 5
LAMBDA   ?= 0.5#             weight of the spatial loss in the topo arm
EPOCHS   ?=#                 default: the protocol's
DEVICE   ?= auto
TRAIN    ?=#                 further options of the training commands
OUT      ?= out#             everything derived
RUNS     ?= runs#            checkpoints
CACHE    ?=#                 crops and ImageNet weights [~/.cache/pose_topo]
VENV     ?= .venv#           the environment; any other than .venv is taken as it is (the image's own)

# ---- the demo: the same graph, small; what is given on the command line stands ----
DEMO_PEOPLE ?= 2400
DEMO_DATA   := data/synthetic-$(strip $(DEMO_PEOPLE))
DEMO := DATA=$(DEMO_DATA) PROTOCOL=demo $(if $(filter command%,$(origin ARCHS)),,ARCHS=resnet18) \
    $(if $(filter command%,$(origin SEEDS)),,SEEDS=0)

include docker/container.mk
ifneq ($(DOCKER),1)#         else the target is made in the image

# comments after a value leave blanks behind it
$(foreach v,TORCH DATA PROTOCOL ARCHS ARMS SEEDS LAMBDA EPOCHS DEVICE TRAIN OUT RUNS CACHE VENV,$(eval override $v := $(strip $($v))))

BIN := $(VENV)/bin
CLI := $(BIN)/pose-topo
READY := $(if $(filter .venv,$(VENV)),.venv/.ready)
ifneq ($(CACHE),)
export POSE_TOPO_CACHE := $(if $(filter /%,$(CACHE)),$(CACHE),$(CURDIR)/$(CACHE))
endif
DATA := $(patsubst %/,%,$(DATA))

# every setting that changes a result is part of its path
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
VARIANT := $(PROTOCOL)$(if $(EPOCHS),-e$(EPOCHS))$(if $(filter-out 0.5,$(LAMBDA)),-l$(LAMBDA))$(subst =,,$(subst $(SPACE),,$(TRAIN)))
TREE    := $(notdir $(DATA))/$(VARIANT)
NAMES   := $(foreach a,$(ARCHS),$(foreach m,$(ARMS),$(foreach s,$(SEEDS),$a/$m-s$s)))
ifneq ($(filter figures,$(MAKECMDGOALS)),)
# figures never trains: it takes the finished runs that are there
NAMES := $(sort $(patsubst $(RUNS)/$(TREE)/%/provenance.json,%,$(wildcard $(RUNS)/$(TREE)/*/*/provenance.json)))
override ARCHS := $(sort $(foreach n,$(NAMES),$(firstword $(subst /, ,$n))))
ifeq ($(NAMES),)
$(error no finished run in $(RUNS)/$(TREE): `make all` trains them; for the demo's figures give $(DEMO))
endif
endif

FIGURES := training_curves parcellation strength_maps neighbour_correlation moran correlation_distance coactivation overlays
TABLES  := table_pckh table_topography
STYLE   := $(filter-out $(FIGURES:%=paper_figures/%.py) $(TABLES:%=paper_figures/%.py),$(wildcard paper_figures/*.py))
# newer code evaluates and analyzes again; it never trains again
EVALUATION := $(wildcard pose_topo/*.py pose_topo/data/*.py pose_topo/models/*.py pose_topo/evaluation/*.py)
ANALYSIS   := $(EVALUATION) $(wildcard pose_topo/analysis/*.py)
# of one backbone: its result folders, where its figures go, and which reference runs stand beside them
results_of   = $(patsubst %,$(OUT)/$(TREE)/%,$(filter $1/%,$(NAMES)))
paper_of     = $(OUT)/$(TREE)/$1/paper
reference_of = $(wildcard paper_figures/reference/$(TREE)/$1/*)
drawn_of     = $(FIGURES:%=$(call paper_of,$1)/%.pdf) $(TABLES:%=$(call paper_of,$1)/%.tex)

TRAIN_OPTIONS = --data $(DATA) --protocol $(PROTOCOL) --device $(DEVICE) $(if $(EPOCHS),--epochs $(EPOCHS)) --no-wandb $(TRAIN)
# arms: baseline; control (lambda 0); topo; topo-m1 (topo with the study's learning rate in its layer)
ARM_baseline := train-baseline
ARM_control  := train-topo --spatial-lambda 0
ARM_topo     := train-topo --spatial-lambda $(LAMBDA)
ARM_topo-m1  := $(ARM_topo) --topo-lr-mult 1

TRAIN_TIME := $(if $(filter demo,$(VARIANT)),about 8 minutes on 2 cores without bf16,the bar says how long)

# one training at a time, also under -j: two on one device only slow each other
ALONE := flock $(RUNS)/.lock

.PHONY: help setup demo all figures test bench lint clean lock FORCE

help: ## print this help
	@echo "pose_topo: make TARGET [VARIABLE=value ...]"; echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-9s %s\n", $$1, $$2}'
	@echo; echo "Variables: DATA PROTOCOL ARCHS ARMS SEEDS LAMBDA EPOCHS DEVICE TRAIN OUT RUNS CACHE (see the top of the Makefile)"

# ---- set-up ----
setup: $(READY) ## make .venv from requirements.lock (TORCH=cpu: PyTorch's CPU wheels)

.venv/.ready: requirements.lock pyproject.toml
	@echo "== set-up: .venv from requirements.lock (about 2 minutes, 5 GB on Linux: torch is the CUDA build)"
	@bash tools/setup.sh $(PYTHON) $(TORCH)
	@touch $@

lock: ## make requirements.lock anew from pyproject.toml
	bash tools/lock.sh $(PYTHON)

# ---- the two doors ----
demo: $(READY) $(DEMO_DATA)/manifest.json ## the whole chain on rendered people, on a CPU
	@$(MAKE) --no-print-directory $(DEMO) all

all: $(foreach a,$(ARCHS),$(call paper_of,$a)/verdict.md) ## the study: train, evaluate, analyze, draw, judge
	@$(foreach a,$(ARCHS),echo; echo "== done: figures and tables are in $(call paper_of,$a)"; cat $(call paper_of,$a)/verdict.md;)

# ---- data ----
data/synthetic-%/manifest.json: | $(READY)
	@echo "== data: rendering $* people (about 17 s a thousand on 2 cores)"
	@$(CLI) download synthetic --data $(@D) --people $* --seed 0

# ---- runs. provenance.json is written last: who finds it has a whole run. It depends on nothing, so newer code never
# retrains; an interrupted run goes on where it stopped.
define train_rule
$(RUNS)/$(TREE)/$1/$2-s$3/provenance.json: | $(READY)
	@echo "== train: $1 $2, seed $3 ($(VARIANT), $(notdir $(DATA))): $(TRAIN_TIME)"
	@mkdir -p $(RUNS)
	@$(ALONE) $(CLI) $$(or $(ARM_$2),$$(error ARMS: no arm $2)) --arch $1 --seed $3 --arm $2 \
	    --save-dir $(RUNS)/$(TREE)/$1 --run-name $2-s$3 $(TRAIN_OPTIONS)
endef
$(foreach a,$(ARCHS),$(foreach m,$(ARMS),$(foreach s,$(SEEDS),$(eval $(call train_rule,$a,$m,$s)))))

$(OUT)/$(TREE)/%/evaluation.json: $(RUNS)/$(TREE)/%/provenance.json $(EVALUATION)
	@echo "== evaluate: $* (the demo: seconds)"
	@$(ALONE) $(CLI) evaluate $(<D) --out $(@D) --device $(DEVICE)

$(OUT)/$(TREE)/%/analysis.json: $(RUNS)/$(TREE)/%/provenance.json $(ANALYSIS)
	@echo "== analyze: $* (the demo: seconds)"
	@$(ALONE) $(CLI) analyze $(<D) --out $(@D) --device $(DEVICE)

# ---- paper ----
figures: $(foreach a,$(ARCHS),$(call drawn_of,$a)) ## figures and tables of the runs that exist, without training

define paper_rules
# which runs a figure shows: rewritten only when that changes
$(call paper_of,$1)/.runs: FORCE
	@mkdir -p $$(@D) && echo $(call results_of,$1) $(call reference_of,$1) >$$@.new && \
	    if cmp -s $$@.new $$@; then rm $$@.new; else mv $$@.new $$@; fi

$(call drawn_of,$1): $(call paper_of,$1)/.runs $(STYLE) $(patsubst %,%/evaluation.json,$(call results_of,$1)) $(patsubst %,%/analysis.json,$(call results_of,$1))

$(call paper_of,$1)/%.pdf: paper_figures/%.py
	@echo "== figure: $1 $$* (seconds)"
	@$(BIN)/python -m paper_figures.$$* --results $(call results_of,$1) --out $$(@D)

$(call paper_of,$1)/%.tex: paper_figures/%.py
	@echo "== table: $1 $$* (seconds)"
	@$(BIN)/python -m paper_figures.$$* --results $(call results_of,$1) --out $$(@D) \
	    $(if $(call reference_of,$1),$$(if $$(filter table_topography,$$*),--reference $(call reference_of,$1)))

$(call paper_of,$1)/verdict.md: $(call drawn_of,$1) paper_figures/claims.toml
	@echo "== verdict: $1 (seconds)"
	@$(BIN)/python -m paper_figures.verdict --results $(call results_of,$1) --out $$(@D)
endef
$(foreach a,$(ARCHS),$(eval $(call paper_rules,$a)))

# ---- the project itself ----
test: $(READY) ## the tests (a few minutes on 2 cores)
	$(BIN)/python -m pytest

bench: $(READY) $(DEMO_DATA)/manifest.json ## what decoding, crops, batches and steps cost on this machine
	$(BIN)/python -m pose_topo.bench --data $(DEMO_DATA) --device $(DEVICE)

lint: $(READY) ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean: ## remove everything derived (never checkpoints or data)
	rm -rf $(OUT)

endif
