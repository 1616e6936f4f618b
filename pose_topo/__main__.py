from pose_topo.cli import main

main()
