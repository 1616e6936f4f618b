from paper_figures.lib.command import main

raise SystemExit(main())
