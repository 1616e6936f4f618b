# pose_topo. `make` alone prints the targets; README.md explains them.
# The steps of the study: data -> runs (checkpoints) -> evaluation.json, analysis.json -> group.json -> figures, tables ->
# claims, report. pose_topo/study/study.toml says which runs there are. tools/study.py prints a plain rule for each file
# into $(RULES), e.g. out/study-demo.mk, which this Makefile includes: `less` it, or `make -n demo`, to see all commands.
# Variables, given on the command line or in the environment: make all ARCHS=resnet18 SEEDS="0 1" DEVICE=cuda:1
# Which runs (values not given are those of study.toml):
#   STUDY         the part of the study: all, quick, demo, small, synthetic or photographs (e.g. make figures STUDY=demo)
#   PROTOCOL      how networks are trained: standard, paper, synthetic, photographs, small or demo
#   ARCHS ARMS SEEDS            the main comparison: backbones, arms, seeds
#   EPOCHS TRAIN                epochs, instead of the protocol's; further options of training, e.g. TRAIN="--lr 1e-4"
#   SWEEP_ARCHS SWEEP_SEEDS     backbones and seeds of the sweep over
#   LAMBDAS LOSSES FACTORS      lambdas of the study's spatial loss, other losses, learning-rate multipliers
#   PAPER_ARCHS   backbones that are also trained by the original study's own recipe
#   LESION_ARMS ROBUST_ARMS     arms that are also lesioned; that are scored while weights, inputs or channels are harmed
#   DEMO_PEOPLE   how many people are rendered for the demo
#   CHECKPOINTS   for figures: a folder of finished runs, laid out as RUNS; their results go to OUT/given
#   RESULTS       for figures: `reference` draws the committed reference results
# Where (paths without blanks; defaults below):
#   DATA          the folder of MPII, for photographs that of LSPET; the other parts render their own data
#   OUT RUNS CACHE              everything derived; checkpoints; crops and ImageNet weights [~/.cache/pose_topo]
# How:
#   DEVICE        auto (all GPUs, see DEVICES; without one the CPU), or only one: cpu, cuda or cuda:N
#   DEVICES       -jN uses these at the same time: numbers of GPUs, "0 1", or "cpu cpu", each with half the cores
#   LAUNCH        starts training, evaluation and analysis on a cluster: "srun -n1 -c8 --gpus=1" (docs/cluster.md)
#   BENCH         further options of the benchmark, e.g. BENCH="--protocol standard"
#   VENV PYTHON   the environment (any other than .venv is used as it is), and the interpreter that makes .venv
#   TORCH         for setup: lock (as locked) or cpu (the CPU wheels of PyTorch's own index)
# DOCKER=1 makes a target inside the image; docker/container.mk has the variables of the image.

SETTINGS := STUDY PROTOCOL ARCHS ARMS SEEDS EPOCHS TRAIN SWEEP_ARCHS SWEEP_SEEDS LAMBDAS LOSSES FACTORS PAPER_ARCHS \
    LESION_ARMS ROBUST_ARMS DEMO_PEOPLE CHECKPOINTS RESULTS DATA OUT RUNS CACHE VENV DEVICE DEVICES LAUNCH BENCH \
    PYTHON TORCH
STUDY  ?= all
DATA   ?= $(if $(filter photographs,$(STUDY)),lspet,mpii)
OUT    ?= out
RUNS   ?= runs
VENV   ?= .venv
DEVICE ?= auto
PYTHON ?= python3
TORCH  ?= lock
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules
.PHONY: help setup download demo small quick synthetic photographs all plan targets figures site check test test-slow bench lint clean lock FORCE

include docker/container.mk
ifneq ($(DOCKER),1)

$(foreach v,DATA OUT RUNS CACHE CHECKPOINTS,$(if $(word 2,$($v)),$(error $v: a path without blanks, not "$($v)")))
ifneq ($(CACHE),)
export POSE_TOPO_CACHE := $(if $(filter /%,$(CACHE)),$(CACHE),$(CURDIR)/$(CACHE))
endif
BIN   := $(VENV)/bin
CLI   := $(BIN)/pose-topo
READY := $(if $(filter .venv,$(VENV)),.venv/.ready)

# ---- the rules of the study: made again where study.toml, the settings or the existing runs have changed
GOALS := $(or $(MAKECMDGOALS),help)
ALONE := help setup lock demo small quick synthetic photographs site test test-slow lint clean image shell release# these need no rules
RULES := $(OUT)/study-$(if $(RESULTS),$(RESULTS),$(STUDY)).mk
quoted = '$(subst ','\'',$1)'
STUDY_SETTINGS = $(foreach v,$(SETTINGS),$(if $(filter undefined,$(origin $v)),,$(call quoted,$v=$($v))))
# without a goal that trains, figures and check take the runs that exist
ifneq ($(filter figures check,$(GOALS)),)
FINISHED := $(if $(filter-out figures check plan download bench $(ALONE),$(GOALS)),,--finished)
endif
# with LAUNCH, a failed step does not stop the others: `make all` calls make for them, and prints this file at the end
LISTED := $(if $(LAUNCH),$(if $(filter-out all,$(GOALS)),,$(OUT)/logs/failed))
MAKEFLAGS += $(if $(filter figures,$(GOALS)),-j$(shell nproc))
$(RULES): FORCE
	@$(firstword $(wildcard $(BIN)/python) $(PYTHON)) tools/study.py $@ $(FINISHED) $(STUDY_SETTINGS)

ifneq ($(filter-out $(ALONE),$(GOALS)),)
include $(RULES)
endif

# ---- targets
help: ## print this help
	@echo "pose_topo: make TARGET [VARIABLE=value ...]"; echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'
	@echo; echo "Variables: $(SETTINGS) (see the top of the Makefile)"

setup: $(READY) ## make .venv from requirements.lock (TORCH=cpu: PyTorch's CPU wheels)

.venv/.ready: requirements.lock pyproject.toml
	@echo "== set-up: .venv from requirements.lock (about 2 minutes, 5 GB on Linux: torch is the CUDA build)"
	@bash tools/setup.sh $(PYTHON) $(TORCH)
	@touch $@

lock: ## make requirements.lock from pyproject.toml
	bash tools/lock.sh $(PYTHON)

download: $(READY) ## download MPII to DATA and ImageNet weights to CACHE, verified; resumes an interrupted download
	@$(CLI) download mpii --data $(DATA)
	@for arch in $(BACKBONES); do $(CLI) download weights --arch $$arch; done

data/synthetic-%/manifest.json: | $(READY)
	@echo "== data: rendering $* people (about 10 s a thousand on 2 cores)"
	@$(CLI) download synthetic --data $(@D) --people $* --seed 0

demo: ## the whole chain on rendered people, on a CPU, in minutes
small: ## the same on more people and from random weights, on a CPU, in 15 minutes or more
quick: ## the smallest part of `all` that decides most claims: resnet18, three arms, three seeds
synthetic: ## the standard recipe on 6,000 rendered people (needs a GPU, but not MPII)
photographs: ## the study on the photographs of LSPET (DATA=), on a CPU
demo small quick synthetic photographs: $(READY)
	@$(MAKE) --no-print-directory STUDY=$@ all

all: $(if $(LISTED),,$(HERE)/report.html) ## the study: train, evaluate, analyze, draw, judge, report
	$(if $(LISTED),@rm -f $(LISTED))
	$(if $(LISTED),@trap 'kill $$!; wait' TERM INT HUP; $(MAKE) --no-print-directory -k $(HERE)/report.html & \
	    wait $$! || { [ ! -f $(LISTED) ] || sed '1i == failed:' $(LISTED); exit 2; })
	@bash tools/older_checkpoints.sh $(RUN_FOLDER)
	@echo "== done: $(HERE)/report.html (claims: $(HERE)/claims.md)"

plan: $(READY) ## how many runs `make all` trains, and their hours, disk and memory
	@$(BIN)/python tools/costs.py plan $(STUDY_SETTINGS)

targets: ## the target of each training, one a line, e.g. for an array job (docs/cluster.md)
	@printf '%s\n' $(TRAINED)

figures: $(HERE)/report.html ## figures, tables and report of the runs that exist, without training (RESULTS=reference: of ours)
	@echo "== done: $<"
site: $(READY) ## the committed reference results on one page, one row per data set, without training
	@$(MAKE) --no-print-directory RESULTS=reference figures

check: $(HERE)/claims.json ## judge the claims by the runs that exist; fails if one is contradicted
	@$(BIN)/python -m paper_figures.claims.check $(JUDGED)

test: $(READY) ## the tests, on all cores (about 5 minutes on 2)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

test-slow: $(READY) ## the tests that `test` leaves out because they take long
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile -m "slow and not gpu"

bench: $(READY) $(DEMO_DATA)/manifest.json ## what decoding, crops, batches and steps cost on this machine
	$(BIN)/python -m pose_topo.bench --data $(DEMO_DATA) --device $(DEVICE) $(BENCH)

lint: $(READY) ## style and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

clean: ## remove everything derived (never checkpoints or data)
	$(if $(filter $(OUT)/%,$(RUNS) $(DATA)),$(error RUNS or DATA lies in OUT, which `clean` removes))
	rm -rf $(OUT)

endif
