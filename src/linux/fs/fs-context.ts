import type { Directory } from './node.ts'

/** Working directory and umask of a process (struct fs_struct); shared by CLONE_FS. */
export class FsContext {
  /** Directories from the root to the working directory, with their names. The root itself is not in the list. */
  cwd: { name: string; directory: Directory }[]
  umask = 0o022

  constructor(cwd: { name: string; directory: Directory }[] = []) {
    this.cwd = cwd
  }
  copy(): FsContext {
    const copy = new FsContext([...this.cwd])
    copy.umask = this.umask
    return copy
  }
  get path(): string {
    return `/${this.cwd.map((entry) => entry.name).join('/')}`
  }
}
