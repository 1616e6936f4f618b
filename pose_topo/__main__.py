from pose_topo.cli import main

if __name__ == "__main__":
    main()
