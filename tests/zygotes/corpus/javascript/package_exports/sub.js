export default "by my own name";
